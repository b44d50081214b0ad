"""Frames tracked once more, when the map is finished: on the keyframes around them, whose depth is known by then.

While a camera goes on, its newest keyframe has the network's depth, and a part of what the camera turns is taken for a
way it goes. In the end the keyframes lie right, and their depth is read off several views. Aligned to the keyframe
before and to the one after, a frame is placed by both, each counting more the nearer it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.models.preprocess import StreamResize
from spark3r_core.photometric.frame_residuals import KeyPoints, misfit
from spark3r_core.photometric.key_points import key_points
from spark3r_core.photometric.known_depth import align_to_known
from spark3r_core.photometric.levels import Level, grey_levels
from spark3r_core.stream.camera_sizes import resampled
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.reference import LEAST_KEY_POINTS
from spark3r_core.stream.tracker import LEAST_INLIERS, LEAST_LIKENESS, LEAST_OVERLAP, SURE_INLIERS

Array = NDArray[np.float64]

LEAST_KNOWN = 0.2  # confidence of a pixel's depth, for frames to be aligned to it
MOST_APART = 3.0  # degrees between what two keyframes say, beyond which only the one that is more alike is believed
MOST_ASTRAY = 8.0  # degrees that alignment may turn a guess by; further off it has slipped along a pattern


@dataclass(frozen=True)
class KnownKeyframe:
    """A keyframe with depth from several views. levels: its pixels at the tracker's size, finest first."""

    frame_id: int
    levels: list[KeyPoints]

    @staticmethod
    def of(frame_id: int, dense: DenseDepth, size: StreamResize) -> KnownKeyframe | None:
        """None where too few of its pixels have a depth that is known. size: of the tracker's pictures."""
        picture, seen_from_dense = size(dense.picture)
        depth, confidence = (
            resampled(image, seen_from_dense, size.image_hw) for image in (dense.depth, dense.confidence)
        )
        known = np.where(confidence >= LEAST_KNOWN, depth, np.float32(np.nan))
        levels = key_points(grey_levels(picture), known, seen_from_dense @ dense.intrinsics)
        return KnownKeyframe(frame_id, levels) if len(levels[0].depth) >= LEAST_KEY_POINTS else None


def retracked(
    pyramid: Sequence[Level],
    guesses: Sequence[Array],
    before: tuple[KnownKeyframe, Sim3] | None,
    after: tuple[KnownKeyframe, Sim3] | None,
    share: float,
) -> Array | None:
    """(4, 4) map_from_camera of a frame; None where it fits neither keyframe, or only one of them and that so-so.

    guesses: (4, 4) each, of which the best is begun with. before, after: the keyframes around it and where they lie
    (map_from_keyframe, with the unit of their depth). share: of the time between them that has passed.
    """
    found = []
    for keyframe, lies in (one for one in (before, after) if one is not None):
        coarsest = len(keyframe.levels) - 1
        starts = [se3.invert(lies.inverse().apply_to_poses(guess)) for guess in guesses]
        errors = [misfit(keyframe.levels[coarsest], pyramid[coarsest], start, None) for start in starts]
        start = starts[int(np.argmin(errors))]
        aligned = align_to_known(keyframe.levels, pyramid, start)
        fits = aligned.inliers > LEAST_INLIERS and aligned.likeness > LEAST_LIKENESS
        is_astray = np.degrees(se3.relative_angle(aligned.camera_from_key, start)) > MOST_ASTRAY
        if fits and aligned.overlap > LEAST_OVERLAP and not is_astray:
            found.append((lies.apply_to_poses(se3.invert(aligned.camera_from_key)), aligned))
    if not found or (len(found) == 1 and found[0][1].inliers < SURE_INLIERS):
        return None
    first, second = found[0][0], found[-1][0]
    if np.degrees(se3.relative_angle(first, second)) > MOST_APART:
        return max(found, key=lambda one: one[1].likeness)[0]
    return se3.interpolate(first, second, share)
