"""The network alone on keyframes, run as the mapper runs it: field of view, depth, and whether confidence tells errors.

No tracker and no adjustment: each keyframe is one step of a `StreamSession`, and what it says is compared with the
truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.camera_sizes import CameraSizes, focal_of
from spark3r_core.stream.session import StreamSession
from tools.evaluation import metrics
from tools.evaluation.depth_maps import sample_centred
from tools.training.curriculum import KEYFRAME_ASPECTS
from tools.training.pool import render_keyframes

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
FIRST_KEYFRAMES = 5  # those whose fields of view count
CORNERS, CORNER_QUALITY, CORNER_APART = 300, 0.01, 7  # of what is followed from a keyframe, at FOLLOWED_SIDE pixels
FOLLOWED_SIDE = 320
LEAST_FOLLOWED, MOST_MOVED = 0.68, 0.2  # share of corners, and their median motion over the longer side


@dataclass(frozen=True)
class Keyframes:
    """Pictures (H, W, 3) uint8 in order; camera: true, of the pictures. depth: (h, w) true z-depth of the whole picture
    by index, 0 or inf where unknown."""

    name: str
    pictures: list[Pixels]
    camera: Intrinsics
    depth: dict[int, Array] = field(default_factory=dict)


def world_keyframes(seeds: Iterable[int], count: int, *, as_before: bool) -> Iterator[Keyframes]:
    """Of rendered worlds, in turn of every shape of picture that training knows; see `keyframe_batch`."""
    for index, seed in enumerate(seeds):
        aspect = KEYFRAME_ASPECTS[index % len(KEYFRAME_ASPECTS)]
        ((images, depth, _, cameras),) = render_keyframes([seed], aspect, count, as_before=as_before)
        height, width = aspect.image_hw
        camera = Intrinsics.from_matrix(cameras[0].astype(np.float64), width, height)
        pictures = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images]
        yield Keyframes(f"world {seed}", pictures, camera, dict(enumerate(depth.astype(np.float64))))


def choose(frames: Iterable[Pixels], also: Sequence[int] = (), most: int | None = None) -> dict[int, Pixels]:
    """Keyframes of a video without depth or poses: a frame is one where a third of the last one's corners is gone, or
    they moved by a fifth of the picture. also: indices that are keyframes in any case."""
    chosen: dict[int, Pixels] = {}
    grey = corners = start = None
    total = 1
    for index, picture in enumerate(frames):
        shrink = FOLLOWED_SIDE / max(picture.shape[:2])
        before, grey = grey, cv2.cvtColor(cv2.resize(picture, None, fx=shrink, fy=shrink), cv2.COLOR_RGB2GRAY)
        if corners is not None and len(corners):
            moved, good, _ = cv2.calcOpticalFlowPyrLK(before, grey, corners, None)
            inside = (good[:, 0] > 0) & (moved[:, 0] >= 0).all(1) & (moved[:, 0] < grey.shape[::-1]).all(1)
            corners, start = moved[inside], start[inside]
        share = 0.0 if corners is None else len(corners) / total
        way = np.median(np.linalg.norm(corners - start, axis=-1)) if share > 0 else np.inf
        if share < LEAST_FOLLOWED or way > MOST_MOVED * FOLLOWED_SIDE or index in also:
            chosen[index] = picture
            corners = start = cv2.goodFeaturesToTrack(grey, CORNERS, CORNER_QUALITY, CORNER_APART)
            total = 1 if corners is None else len(corners)
        if most is not None and len(chosen) >= most and index >= max(also, default=0):
            break
    return chosen


def run_alone(model: Backbone, keyframes: Keyframes) -> dict[str, Any]:
    """Errors of one sequence.

    focal: relative, of the median over the first keyframes; fov: of the angle that the longer side sees; focal_each:
    median over keyframes of each one's own. abs_rel: after one scale per keyframe; abs_rel_one_scale: per sequence;
    abs_rel_flat: of the same depth everywhere. ordered: area that ordering pixels by confidence takes off the mean
    error, over what true errors would take off; 1 is perfect, 0 says nothing.
    """
    sizes = CameraSizes.fit(keyframes.pictures[0].shape[:2], model.facts, None)
    session = StreamSession(model, MemoryConfig(max_new_frames=1), refine=False, tied=True)
    focals, found, truth, trust = [], [], [], []
    for index, picture in enumerate(keyframes.pictures):
        image, network_from_picture = sizes.for_network(picture)
        estimate = session.step(image.transpose(2, 0, 1)[None], [index]).frames[0]
        focals.append(focal_of(np.linalg.inv(network_from_picture) @ estimate.intrinsics))
        if index in keyframes.depth:
            found.append(estimate.depth.astype(np.float64))
            truth.append(sample_centred(keyframes.depth[index], *estimate.depth.shape))
            trust.append(estimate.confidence.astype(np.float64))
    true = focal_of(keyframes.camera.matrix)
    first = float(np.median(focals[:FIRST_KEYFRAMES]))
    longer = max(keyframes.camera.width, keyframes.camera.height)
    mine, known = (2 * np.arctan(longer / 2 / focal) for focal in (first, true))
    row: dict[str, Any] = {
        "keyframes": len(focals),
        "true_fov_deg": round(float(np.degrees(known)), 1),
        "fov_deg": round(float(np.degrees(mine)), 1),
        "fov": abs(mine / known - 1),
        "focal": abs(first / true - 1),
        "focal_each": float(np.median(np.abs(np.array(focals) / true - 1))),
    }
    scaled, seen, order = [], [], []
    for depth, true_depth, confidence in zip(found, truth, trust, strict=True):
        solid = np.isfinite(true_depth) & (true_depth > 0)
        if solid.any():
            scaled.append(depth * np.median(true_depth[solid] / depth[solid]))
            seen.append(true_depth)
            order.append(confidence)
    if scaled:
        numbers = metrics.depth_errors(scaled, seen, order)
        each = [metrics.depth_errors([p], [t]) for p, t in zip(scaled, seen, strict=True)]
        row["abs_rel"] = float(np.mean([one["abs_rel"] for one in each]))
        row["abs_rel_flat"] = float(np.mean([one["flat_abs_rel"] for one in each]))
        row["abs_rel_one_scale"] = metrics.depth_errors(found, truth)["abs_rel"]
        row["ordered"] = 1 - numbers["calibration"]["sparsification"]
    return row


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Over sequences, of each number that any of them has."""
    names = ("fov", "focal", "focal_each", "abs_rel", "abs_rel_one_scale", "abs_rel_flat", "ordered")
    return {
        name: round(float(np.median([row[name] for row in rows if name in row])), 4)
        for name in names
        if any(name in row for row in rows)
    }
