"""Places seen before: proposed by appearance, verified by features and depth, believed when several agree."""
