"""A window's prediction after photometric refinement, as a stream would refine it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spark3r_core.models.interface import Prediction
from spark3r_core.stream.estimates import estimates_of
from spark3r_core.stream.refiner import PhotometricRefiner


def refined(images: Tensor, prediction: Prediction) -> Prediction:
    """images: (1, S, 3, H, W) in [0, 1], of all frames of the prediction."""
    estimates = estimates_of(range(images.shape[1]), prediction)
    frames = PhotometricRefiner().step(images[0], estimates).frames

    def stacked(name: str, like: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([getattr(frame, name) for frame in frames]))[None].to(like)

    return replace(
        prediction,
        world_from_camera=stacked("world_from_camera", prediction.world_from_camera.double()),
        intrinsics=stacked("intrinsics", prediction.intrinsics.double()),
        depth=stacked("depth", prediction.depth),
    )
