"""What is assumed of pictures and of depth, wherever pixels are compared; without torch."""

from __future__ import annotations

import math

INTENSITY_SIGMA = 0.03  # of [0, 1]: noise, compression, shading
DEPTH_SIGMA = 0.03  # of log depth: what the grid cannot mend, pixel by pixel
UNSEEN_DEPTH_SIGMA = 0.4  # the same where only a network says it, beside pixels that several views agree on
NETWORK_FOCAL_SIGMA = 0.3  # of the log focal length: networks are up to 40 percent off
HUBER = 1.345  # in sigmas
MIN_Z = 1e-3
POINTS = (1728, 768, 432)  # aimed at per level, finest first; coarser levels than these take the last number
MIN_GRADIENT = 0.004  # intensity per pixel: below, a pixel says nothing about where it is
MIN_DEPTH = 1e-3  # of the map's unit, the first frame's depth
COARSEST_WIDTH = 48  # pixels: a turn of a tenth of the view is then five of them, within reach of the gradient
BLUR_SIGMA = 1.0  # pixels of each level: gradients must be smooth over a step of Gauss-Newton


def level_count(width: int) -> int:
    """Levels until an image is about COARSEST_WIDTH wide."""
    return max(1, 1 + round(math.log2(max(width, 1) / COARSEST_WIDTH)))
