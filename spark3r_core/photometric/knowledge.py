"""What is known of a keyframe's depth correction and focal length, filtered from frame to frame.

An information filter over [nodes, log focal]: each aligned frame adds what it knows of them, so that the next frame
begins where this one ended.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HELD = 1e12  # precision of depth and focal length at the coarsest level: a pose that is far off would bend them
# Errors of neighbouring frames are much alike (the same shading, the same blur), so a frame's knowledge counts little.
FRAME_WEIGHT = 0.05
MOST_PRECISION = 2e4  # of a node and of the focal length: 0.7 percent; nothing is known better from one keyframe


@dataclass(frozen=True)
class Knowledge:
    """What is known of a keyframe's shared unknowns [nodes, log focal].

    mean: (SHARED,). information: (SHARED, SHARED).
    """

    mean: Array
    information: Array

    @property
    def nodes(self) -> Array:
        return self.mean[:-1]

    @property
    def log_focal(self) -> float:
        return float(self.mean[-1])


def more_known(known: Knowledge, information: Array) -> Knowledge:
    """Knowledge with information added, bounded: nothing is known arbitrarily well from pixels.

    A focal length that is held stays held.
    """
    total = known.information + information
    diagonal = np.diag(total)
    shrink = np.sqrt(np.minimum(1.0, MOST_PRECISION / np.maximum(diagonal, 1e-12)))
    if diagonal[-1] >= HELD:
        shrink[-1] = 1.0
    return replace(known, information=total * shrink[:, None] * shrink[None])


def learnt(known: Knowledge, shared: Array, squares: Array, of_frame: Array) -> Knowledge:
    """The keyframe's knowledge after a frame: its information once pose and light are solved for, discounted."""
    own = squares[:8, :8] + of_frame + 1e-6 * np.eye(8)
    cross = squares[:8, 8:]
    information = squares[8:, 8:] - cross.T @ np.linalg.solve(own, cross)
    information = 0.5 * (information + information.T) * FRAME_WEIGHT
    return more_known(Knowledge(shared, known.information), information)
