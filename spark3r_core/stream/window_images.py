"""Pictures of a window as a network takes them; what no network could make sense of is refused with its reason."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from spark3r_core.errors import ImageError
from spark3r_core.models.interface import Backbone

RANGE_SLACK = 1e-3  # of [0, 1]: what resizing may overshoot by


def window_images(
    images: Tensor | np.ndarray, model: Backbone, most: int, image_hw: tuple[int, int] | None = None
) -> Tensor:
    """(n, 3, H, W) float32 in [0, 1] on the model's device.

    Args:
        images: (n, 3, H, W), float in [0, 1] or uint8, on any device; n from 1 to `most`.
        image_hw: the only size that is taken; None: any that the model's patches divide.

    Raises:
        ImageError: another shape, type, size or range.
    """
    batch = torch.as_tensor(images)
    if batch.ndim != 4 or batch.shape[1] != 3 or len(batch) == 0:
        raise ImageError(f"a window is (n, 3, H, W) with n >= 1, got shape {tuple(batch.shape)}")
    if len(batch) > most:
        raise ImageError(f"{len(batch)} new frames in one window; this session takes {most}")
    _check_values(batch)
    height, width = batch.shape[2:]
    if image_hw is not None and (height, width) != image_hw:
        raise ImageError(f"frames of {width}x{height} in a session of {image_hw[1]}x{image_hw[0]}; resize them")
    patch = model.patch_size
    if height % patch or width % patch:
        raise ImageError(f"frames of {width}x{height}; both sides must be multiples of the patch, {patch} pixels")
    batch = batch.to(next(model.parameters()).device, non_blocking=True)
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()


def _check_values(batch: Tensor) -> None:
    if batch.dtype == torch.uint8:
        return
    if not batch.is_floating_point():
        raise ImageError(f"images of type {batch.dtype}; expected uint8, or floats in [0, 1]")
    low, high = (float(extreme) for extreme in torch.aminmax(batch))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("float images with pixels that are not finite; expected [0, 1]")
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):
        raise ImageError(
            f"float images reach from {low:g} to {high:g}; expected [0, 1]; divide 0 to 255 by 255, or give uint8"
        )
