"""A stream: frames in, poses and geometry in one map out."""
