"""Two-frame and window errors of a network itself, without any streaming: how well does it see motion?

PYTHONPATH=. python -m tools.evaluation.pairs --truth DATA/7scenes_redkitchen_a --checkpoint runs/bundled/last.pt
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from spark3r_core.attention.plan import Dense
from spark3r_core.geometry import se3
from spark3r_core.models.interface import Backbone
from spark3r_core.models.preprocess import PixelMap, Pixels, StreamResize
from tools.evaluation import metrics
from tools.evaluation.network import add_arguments, load_network
from tools.evaluation.refined import refined
from tools.evaluation.sequences import TrueSequence, open_sequence


@torch.no_grad()
def pair_errors(
    model: Backbone, sequence: TrueSequence, distance: int, every: int, context: int = 0, *, refine: bool = False
) -> dict[str, float]:
    """Medians over pairs `distance` apart, one every `every` frames; `context` frames between them join the window.

    refine: photometrically, each pair on its own. Lengths after one scale for all pairs (least squares). fov_deg:
    horizontal, of the source image, median over pairs.
    """
    frames, truth = sequence.truth_of_frames()
    if len(frames) <= distance:
        raise ValueError(f"{sequence.name}: {len(frames)} frames with a truth give no pairs {distance} apart")
    first = list(range(0, len(frames) - distance, every))
    windows = [np.unique(np.linspace(i, i + distance, context + 2).round().astype(int)) for i in first]
    small, pixel_map, width = _read(model, sequence, {int(frames[i]) for window in windows for i in window})
    device = next(model.parameters()).device
    estimates, fovs = [], []
    for window in windows:
        images = torch.from_numpy(np.stack([small[int(frames[i])] for i in window])).permute(0, 3, 1, 2)
        small_images = images[None].to(device).float() / 255
        decoded = model.decode(model.encode(small_images), Dense(), reference=0)
        prediction = model.predict(decoded, [0, len(window) - 1])
        if refine:
            prediction = refined(small_images[:, [0, -1]], prediction)
        pose = prediction.world_from_camera[0].double().cpu().numpy()
        estimates.append(se3.compose(se3.invert(pose[0]), pose[1]))
        camera = np.linalg.inv(pixel_map) @ prediction.intrinsics[0, 0].double().cpu().numpy()
        fovs.append(2 * np.arctan(width / (2 * camera[0, 0])))
    true = metrics.relative(truth, first, [i + distance for i in first])
    estimate = np.stack(estimates)
    product, square = (estimate[:, :3, 3] * true[:, :3, 3]).sum(), (estimate[:, :3, 3] ** 2).sum()
    estimate[:, :3, 3] *= max(0.0, product / max(1e-12, square))
    shortest = metrics.MOVED * metrics.spread(truth)
    result = metrics.summarise(metrics.relative_errors(estimate, true, shortest), true)
    still = metrics.relative_errors(np.broadcast_to(np.eye(4), true.shape).copy(), true, shortest)
    result |= {"no_motion_rotation_deg": float(np.median(still["rotation"])), "pairs": len(first)}
    result["fov_deg"] = float(np.degrees(np.median(fovs)))
    if sequence.intrinsics is not None:
        camera = sequence.intrinsics
        result["true_fov_deg"] = float(np.degrees(2 * np.arctan(camera.width / (2 * camera.fx))))
        result["fov_error"] = abs(result["fov_deg"] / result["true_fov_deg"] - 1)
    return result


def _read(model: Backbone, sequence: TrueSequence, wanted: set[int]) -> tuple[dict[int, Pixels], PixelMap, int]:
    """The wanted frames at network size, the map from source pixels to theirs, and the width of the source."""
    resize = None
    small: dict[int, Pixels] = {}
    for index, image in enumerate(sequence.frames()):
        if resize is None:
            patches = model.capabilities.native_patches or 192
            resize = StreamResize.fit_patches(image.shape[:2], patches, model.patch_size)
        if index in wanted:
            small[index], pixel_map = resize(image)
            width = image.shape[1]
    return small, pixel_map, width


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", required=True)
    add_arguments(parser)
    parser.add_argument("--distance", type=int, default=8)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--context", type=int, default=0)
    parser.add_argument("--refine", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_network(args.model, args.weights, args.checkpoint)
    errors = pair_errors(model, open_sequence(args.truth), args.distance, args.every, args.context, refine=args.refine)
    print(json.dumps({key: round(value, 4) for key, value in errors.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
