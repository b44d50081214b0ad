"""The network itself on held-out synthetic worlds: pairs and short windows, without memory or engine.

The windows are made as those that training validates on (4:3, views 3 to 30 video frames apart, some return), from
seeds that training refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spark3r_core.attention.plan import Dense
from spark3r_core.models.interface import Backbone, Prediction
from spark3r_core.models.preprocess import StreamResize
from tools.evaluation import metrics
from tools.evaluation.refined import refined
from tools.training.curriculum import Aspect
from tools.training.pool import render_sequences
from tools.training.window import Window, to_gauge

Array = NDArray[np.float64]
VIEWS = 6
SEEDS_AT_ONCE = 2  # the spacing of the views is drawn once for so many worlds
MOVED = 0.01  # of frame 0's mean depth: shorter motions have no relative error


def rendered_worlds(model: Backbone, seeds: range, views: int = VIEWS) -> Iterator[Window]:
    """One window (1, views, ...) per seed in the gauge of the bundled network: frame 0 is the world and its mean depth
    the unit."""
    image_hw = StreamResize.fit_patches((3, 4), model.capabilities.native_patches or 192, model.patch_size).image_hw
    for first in range(seeds.start, seeds.stop, SEEDS_AT_ONCE):
        some = list(range(first, min(first + SEEDS_AT_ONCE, seeds.stop)))
        for images, depth, poses, intrinsics in render_sequences(some, Aspect(image_hw, 1.0), views):
            parts = (torch.from_numpy(part)[None] for part in (images, depth, poses, intrinsics))
            pixels, true_depth, world_from_camera, cameras = parts
            yield to_gauge(Window(pixels.float() / 255, true_depth.float(), world_from_camera, cameras))


@torch.no_grad()
def predict(model: Backbone, window: Window) -> Prediction:
    """All views of a window at once, full attention."""
    device = next(model.parameters()).device
    return model.predict(model.decode(model.encode(window.images.to(device)), Dense(), reference=0))


def world_errors(prediction: Prediction, window: Window) -> dict[str, Any]:
    """Errors of one window: arrays over views 1…, numbers over the window; lists of maps for what pools pixels.

    rotation, direction (degrees) against frame 0; translation over its true length, in the network's own unit and
    after the one scale of the depths (as AbsRel); *_still is predicting no motion.
    """
    found, true = (part[0].double().cpu().numpy() for part in (prediction.world_from_camera, window.world_from_camera))
    depth, true_depth = (part[0].double().cpu().numpy() for part in (prediction.depth, window.depth))
    later = np.arange(1, len(true))
    estimate, truth = (metrics.relative(poses, 0 * later, later) for poses in (found, true))
    solid = np.isfinite(true_depth) & (true_depth > 0)
    scaled = estimate.copy()
    scaled[:, :3, 3] *= np.median(true_depth[solid] / depth[solid])
    length = np.linalg.norm(truth[:, :3, 3], axis=1)
    errors = metrics.relative_errors(estimate, truth, MOVED)
    still = metrics.relative_errors(np.broadcast_to(np.eye(4), truth.shape).copy(), truth, MOVED)
    moved = length > MOVED
    width = window.images.shape[-1]
    fov, true_fov = (
        2 * np.arctan(width / (2 * cameras[0, :, 0, 0].double().cpu().numpy()))
        for cameras in (prediction.intrinsics, window.intrinsics)
    )
    return {
        "rotation": errors["rotation"],
        "rotation_still": still["rotation"],
        "direction": errors["direction"][moved],
        "translation": (errors["translation"] / np.maximum(length, 1e-12))[moved],
        "translation_depth_scale": (
            np.linalg.norm(scaled[:, :3, 3] - truth[:, :3, 3], axis=1) / np.maximum(length, 1e-12)
        )[moved],
        "pose": np.fmax(errors["rotation"], errors["direction"]),
        "fov": np.abs(fov / true_fov - 1),
        "depth": metrics.depth_errors(
            list(depth), list(true_depth), list(prediction.confidence[0].double().cpu().numpy())
        ),
    }


def worlds_numbers(model: Backbone, seeds: range, views: int = VIEWS) -> dict[str, dict[str, Any]]:
    """{"pairs": …, "windows": …}: frames 0 and 1 alone, and all views together; "pairs, refined": photometrically.

    Medians over all views of all worlds (direction, translation: those that moved); depth after one scale per world,
    median over worlds; AUC over all views.
    """
    rows: dict[str, list[dict[str, Any]]] = {"pairs": [], "windows": [], "pairs, refined": []}
    for window in rendered_worlds(model, seeds, views):
        for name, count in (("pairs", 2), ("windows", views)):
            part = window.of_frames(range(count))
            prediction = predict(model, part)
            rows[name].append(world_errors(prediction, part))
            if name == "pairs":
                rows["pairs, refined"].append(world_errors(refined(part.images, prediction), part))
    return {name: _summarise(worlds) for name, worlds in rows.items()}


def _summarise(worlds: list[dict[str, Any]]) -> dict[str, Any]:
    def median(key: str) -> float:
        return float(np.median(np.concatenate([world[key] for world in worlds])))

    depth = [world["depth"] for world in worlds]
    rotation, still = median("rotation"), median("rotation_still")
    return {
        "worlds": len(worlds),
        "rotation_deg": rotation,
        "no_motion_rotation_deg": still,
        "rotation_of_no_motion": rotation / still,
        "direction_deg": median("direction"),
        "translation_of_length": median("translation"),
        "translation_of_length_depth_scale": median("translation_depth_scale"),
        "fov_error": median("fov"),
        "auc": metrics.auc(np.concatenate([world["pose"] for world in worlds])),
        "depth": {
            key: float(np.median([numbers[key] for numbers in depth]))
            for key in ("abs_rel", "delta_1.25", "flat_abs_rel")
        }
        | {
            "calibration": {
                key: float(np.median([numbers["calibration"][key] for numbers in depth]))
                for key in ("rank_correlation", "sparsification")
            }
            | {"bins": np.mean([numbers["calibration"]["bins"] for numbers in depth], axis=0).tolist()}
        },
    }
