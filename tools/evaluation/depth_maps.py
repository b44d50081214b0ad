"""Depth and field of view of a result folder against the truth of its sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import read_camera
from tools.evaluation import metrics
from tools.evaluation.sequences import TrueSequence

Array = NDArray[np.float64]


def sample_centred(truth: Array, height: int, width: int) -> Array:
    """True depth at the pixel centres of a (height, width) map that shows the centred part of the same image.

    The map's aspect decides what was cropped: sides or top and bottom, as the network's preprocessing does. Nearest
    pixel, because depth must not be averaged over edges.
    """
    rows, columns = truth.shape
    step = min(rows / height, columns / width)
    y = (np.arange(height) + 0.5 - height / 2) * step + rows / 2
    x = (np.arange(width) + 0.5 - width / 2) * step + columns / 2
    return truth[np.ix_(y.astype(int).clip(0, rows - 1), x.astype(int).clip(0, columns - 1))]


def depth_numbers(
    depth: Mapping[int, Array], confidence: Mapping[int, Array], sequence: TrueSequence
) -> dict[str, Any]:
    """{"depth": …} over the frames that have both a map and a true one, else {}. Maps (h, w) by frame index.

    Confidence counts where every such frame has it.
    """
    frames = [frame for frame in sequence.depth if frame in depth]
    if not frames:
        return {}
    truth = [sample_centred(sequence.depth[frame](), *depth[frame].shape) for frame in frames]
    trust = [confidence[frame] for frame in frames] if all(frame in confidence for frame in frames) else None
    return {"depth": metrics.depth_errors([depth[frame] for frame in frames], truth, trust) | {"frames": len(frames)}}


def saved_depth_numbers(folder: Path, sequence: TrueSequence) -> dict[str, Any]:
    """`depth_numbers` of the maps that `spark3r run --save-depth` left in folder/depth/<frame>.npz."""
    depth: dict[int, Array] = {}
    confidence: dict[int, Array] = {}
    for frame in sequence.depth:
        path = folder / "depth" / f"{frame:06d}.npz"
        if not path.exists():
            continue
        with np.load(path) as stored:
            depth[frame] = stored["depth"].astype(np.float64)
            if "confidence" in stored:
                confidence[frame] = stored["confidence"].astype(np.float64)
    return depth_numbers(depth, confidence, sequence)


def fov_error(found: Intrinsics, true: Intrinsics) -> float:
    """Relative error of the horizontal field of view; both cameras see the same image."""
    mine, known = (2 * np.arctan(camera.width / (2 * camera.fx)) for camera in (found, true))
    return float(abs(mine / known - 1))


def saved_fov_error(folder: Path, sequence: TrueSequence) -> dict[str, float]:
    """{"fov_error": …} of folder/intrinsics.json where both cameras are known, else {}."""
    path = folder / "intrinsics.json"
    if sequence.intrinsics is None or not path.exists():
        return {}
    return {"fov_error": fov_error(read_camera(path), sequence.intrinsics)}
