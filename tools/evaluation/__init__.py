"""Evaluation against ground truth: what tools/evaluate.py is made of."""
