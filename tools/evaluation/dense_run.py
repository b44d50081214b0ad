"""Depth of keyframes before and after it was read off several views, against the truth, and the points made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.geometry.pointmap import points_from_depth
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import KeyframeOutput
from tools.evaluation import metrics
from tools.evaluation.sequences import TrueSequence

Array = NDArray[np.float64]

CLOSE = 0.03  # of the scene's size: a fused point so near to the true surface counts
EVERY = 7  # true pixels, of which one is a point of the true surface
SHARES = (0.25, 0.5, 0.75, 1.0)  # of pixels, the most confident first: the curve of sparsification


@dataclass
class KeyframeCollector:
    """A sink that keeps keyframes as first published and as last published, and where submaps lie in the end."""

    first: dict[int, KeyframeOutput] = field(default_factory=dict)
    last: dict[int, KeyframeOutput] = field(default_factory=dict)
    placed: dict[int, Sim3] = field(default_factory=dict)

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        for correction in result.corrections:
            self.placed[correction.submap] = correction.map_from_submap
        for keyframe in result.keyframes:
            self.placed.setdefault(keyframe.submap, keyframe.map_from_submap)
            self.first[keyframe.frame_id] = self.last[keyframe.frame_id] = keyframe
        for keyframe in result.refined:
            self.last[keyframe.frame_id] = keyframe

    def map_from(self, keyframe: KeyframeOutput) -> Sim3:
        return self.placed[keyframe.submap]


def true_depth(sequence: TrueSequence, frame_id: int, camera: Array, size_hw: tuple[int, int]) -> Array:
    """(h, w) true depth of a keyframe at a size, inf where unknown. camera: (3, 3) true, at that size.

    Where the frame has no depth map of its own the nearest one in time is seen from it, by the true poses.
    """
    frames, poses = sequence.truth_of_frames()
    place = {int(frame): pose for frame, pose in zip(frames, poses, strict=True)}
    found = np.full(size_hw, np.inf)
    nearest = min(sequence.depth, key=lambda other: abs(other - frame_id))
    if frame_id not in place or nearest not in place or sequence.intrinsics is None:
        return found
    depth = sequence.depth[nearest]()
    known = np.isfinite(depth) & (depth > 0)
    points = points_from_depth(np.where(known, depth, 1.0), sequence.intrinsics.matrix)[known]
    step = np.linalg.inv(place[frame_id]) @ place[nearest]
    x, y, z = (points @ step[:3, :3].T + step[:3, 3]).T
    ahead = z > 1e-6
    x, y, z = x[ahead], y[ahead], z[ahead]
    u = np.floor(x / z * camera[0, 0] + camera[0, 2]).astype(int)
    v = np.floor(y / z * camera[1, 1] + camera[1, 2]).astype(int)
    inside = (u >= 0) & (u < size_hw[1]) & (v >= 0) & (v < size_hw[0])
    np.minimum.at(found, (v[inside], u[inside]), z[inside])
    return found


def depth_numbers(collector: KeyframeCollector, sequence: TrueSequence, which: str) -> dict[str, Any]:
    """AbsRel with one scale for the sequence, and how confidence orders errors. which: "first" or "last"."""
    predicted, truth, trust = [], [], []
    for frame_id, keyframe in sorted(getattr(collector, which).items()):
        predicted.append(keyframe.depth.astype(np.float64) * collector.map_from(keyframe).scale)
        truth.append(true_depth(sequence, frame_id, camera_at(sequence, keyframe), keyframe.depth.shape))
        trust.append(keyframe.confidence.astype(np.float64))
    numbers = metrics.depth_errors(predicted, truth, trust)
    if not numbers:
        return {}
    keep = [np.isfinite(t) & (t > 0) for t in truth]
    p, t, c = (np.concatenate([a[k] for a, k in zip(part, keep, strict=True)]) for part in (predicted, truth, trust))
    error = np.abs(p * np.median(t / p) - t) / t
    order = np.argsort(-c, kind="stable")
    curve = {f"{share:g}": float(error[order[: int(share * len(order))]].mean()) for share in SHARES}
    return numbers | {"keyframes": len(predicted), "abs_rel_of_most_confident": curve}


def camera_at(sequence: TrueSequence, keyframe: KeyframeOutput) -> Array:
    """(3, 3) the true camera at the size of a keyframe's depth."""
    assert sequence.intrinsics is not None
    height, width = keyframe.depth.shape
    return sequence.intrinsics.resized(width, height).matrix


def point_numbers(collector: KeyframeCollector, sequence: TrueSequence, which: str) -> dict[str, float]:
    """How much of all published points lies on the true surface that the keyframes saw, and how much of that is there.

    The map is laid over the truth by one Sim(3) over the keyframes' cameras. The scene's size is the diagonal of the
    box that holds the middle 98 percent of the true points along each axis.
    """
    frames, poses = sequence.truth_of_frames()
    place = {int(frame): pose for frame, pose in zip(frames, poses, strict=True)}
    keyframes = [keyframe for frame_id, keyframe in sorted(getattr(collector, which).items()) if frame_id in place]
    found = np.stack([collector.map_from(keyframe).translation for keyframe in keyframes])
    true = np.stack([place[keyframe.frame_id][:3, 3] for keyframe in keyframes])
    truth_from_map = umeyama(found, true)
    points = [
        truth_from_map.apply_to_points(collector.map_from(keyframe).apply_to_points(keyframe.points))
        for keyframe in keyframes
    ]
    surface = []
    for keyframe in keyframes:
        depth = true_depth(sequence, keyframe.frame_id, camera_at(sequence, keyframe), keyframe.depth.shape)
        known = np.isfinite(depth)
        all_points = points_from_depth(
            np.where(known, depth, 1.0), camera_at(sequence, keyframe), place[keyframe.frame_id]
        )
        surface.append(all_points[known][::EVERY])
    fused, true_points = np.concatenate(points)[::EVERY], np.concatenate(surface)
    size = float(np.linalg.norm(np.ptp(np.quantile(true_points, [0.01, 0.99], axis=0), axis=0)))
    to_truth, _ = cKDTree(true_points).query(fused)
    to_fused, _ = cKDTree(fused).query(true_points)
    return {
        "points": len(np.concatenate(points)),
        "scene_size": size,
        "accurate": float((to_truth <= CLOSE * size).mean()),
        "complete": float((to_fused <= CLOSE * size).mean()),
        "median_distance_of_size": float(np.median(to_truth) / size),
    }
