"""A camera's calibration from pictures of a printed board."""
