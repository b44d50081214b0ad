"""Depth and field of view of a result folder against the truth of its sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.camera import read_intrinsics
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


def result_depth_errors(folder: Path, sequence: TrueSequence) -> dict[str, Any]:
    """{"depth": …} over the frames that have both a saved map (depth/<frame>.npz) and a true one, else {}."""
    predicted: list[Array] = []
    truth: list[Array] = []
    confidence: list[Array] = []
    for index, load in sequence.depth.items():
        path = folder / "depth" / f"{index:06d}.npz"
        if not path.exists():
            continue
        with np.load(path) as stored:
            depth = stored["depth"].astype(np.float64)
            if "confidence" in stored:
                confidence.append(stored["confidence"].astype(np.float64))
        predicted.append(depth)
        truth.append(sample_centred(load(), *depth.shape))
    if not predicted:
        return {}
    errors = metrics.depth_errors(predicted, truth, confidence if len(confidence) == len(predicted) else None)
    return {"depth": errors | {"frames": len(predicted)}}


def result_fov_error(folder: Path, sequence: TrueSequence) -> dict[str, float]:
    """{"fov_error": relative error of the horizontal field of view} where both cameras are known, else {}."""
    path = folder / "intrinsics.json"
    if sequence.intrinsics is None or not path.exists():
        return {}
    mine, true = read_intrinsics(path), sequence.intrinsics
    found, known = (2 * np.arctan(camera.width / (2 * camera.fx)) for camera in (mine, true))
    return {"fov_error": float(abs(found / known - 1))}
