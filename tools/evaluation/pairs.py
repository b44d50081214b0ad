"""Two-frame and window errors of a network itself, without any streaming: how well does it see motion?

PYTHONPATH=. python -m tools.evaluation.pairs --truth DATA/7scenes_redkitchen_a --checkpoint runs/bundled/last.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spark3r_core.attention.plan import Dense
from spark3r_core.geometry import se3
from spark3r_core.models.da3 import DA3, DA3Config
from spark3r_core.models.registry import load_model
from tools.evaluation import metrics
from tools.evaluation.sequences import TrueSequence, open_sequence
from tools.training import checkpoint

Array = NDArray[np.float64]


def network_size(width: int, height: int, patch: int = 12, tokens: int = 192) -> tuple[int, int]:
    """(H, W) in whole patches with about `tokens` of them at the image's aspect ratio."""
    rows = max(1, round((tokens * height / width) ** 0.5))
    return rows * patch, max(1, round(rows * width / height)) * patch


def pair_errors(model: DA3, sequence: TrueSequence, distance: int, every: int, context: int = 0) -> dict[str, float]:
    """Medians over pairs `distance` apart, one every `every` frames; `context` frames between them join the window."""
    images = list(sequence.frames())
    frames, truth = sequence.truth_of_frames()
    height, width = images[0].shape[:2]
    size = network_size(width, height)
    small = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image in images]
    tensor = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255
    first = list(range(0, len(frames) - distance, every))
    estimates, fovs = [], []
    for i in first:
        window = np.unique(np.linspace(i, i + distance, context + 2).round().astype(int))
        with torch.no_grad():
            decoded = model.decode(model.encode(tensor[frames[window]][None]), Dense(), reference=0)
            prediction = model.predict(decoded, [0, len(window) - 1])
        pose = prediction.world_from_camera[0].double().numpy()
        estimates.append(se3.compose(se3.invert(pose[0]), pose[1]))
        fovs.append(2 * np.arctan(size[1] / (2 * float(prediction.intrinsics[0, 0, 0, 0]))))
    true = metrics.relative(truth, first, [i + distance for i in first])
    estimate = np.stack(estimates)
    found, known = (np.linalg.norm(p[:, :3, 3], axis=1) for p in (estimate, true))
    estimate[:, :3, 3] *= (found @ known) / max(1e-12, float(found @ found))  # one scale for all pairs
    shortest = metrics.MOVED * metrics.spread(truth)
    result = metrics.summarise(metrics.relative_errors(estimate, true, shortest), true)
    still = metrics.relative_errors(np.broadcast_to(np.eye(4), true.shape).copy(), true, shortest)
    result |= {"no_motion_rotation_deg": float(np.median(still["rotation"])), "pairs": len(first)}
    result["fov_deg"] = float(np.degrees(np.median(fovs)))
    if sequence.intrinsics is not None:
        camera = sequence.intrinsics
        result["true_fov_deg"] = float(np.degrees(2 * np.arctan(camera.width / (2 * camera.fx))))
    return result


def load(path: Path | None) -> DA3:
    """The EMA weights of a training checkpoint, or the bundled network."""
    if path is None:
        return load_model("bundled").eval()  # type: ignore[return-value]
    state = checkpoint.load(path)
    model = DA3(DA3Config(**state["model_config"]))
    model.load_state_dict(state["ema"]["shadow"])
    return model.eval()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--distance", type=int, default=8)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--context", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    errors = pair_errors(load(args.checkpoint), open_sequence(args.truth), args.distance, args.every, args.context)
    print(json.dumps({key: round(value, 4) for key, value in errors.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
