"""The map that a receiver keeps: clouds, poses, where submaps lie."""
