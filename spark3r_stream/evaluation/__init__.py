"""Trajectories held against each other: results, recordings and the truth."""
