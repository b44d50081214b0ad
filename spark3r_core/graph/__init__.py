"""Pose graph: similarities of keyframes made to agree with edges between them, of which some may be false."""
