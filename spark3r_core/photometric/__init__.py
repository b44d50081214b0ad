"""Direct alignment: poses that the pixels of a keyframe agree with (see README.md here). Pure functions."""
