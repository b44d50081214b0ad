"""Grey pyramids with gradients: what direct alignment compares."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from spark3r_core.photometric.assumed import BLUR_SIGMA, level_count

_LUMA = (0.299, 0.587, 0.114)


def grey_pyramid(images: Tensor) -> list[Tensor]:
    """Blurred intensity and its gradient along columns and rows, finest level first.

    Args:
        images: (n, 3, H, W) in [0, 1].

    Returns:
        Per level (n, 3, h, w): intensity, d/du, d/dv per pixel of that level; each half the size of the one before.
    """
    grey = (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    levels = []
    for level in range(level_count(images.shape[-1])):
        if level:
            if min(grey.shape[-2:]) < 2:
                break  # a strip
            grey = F.avg_pool2d(grey, 2)
        levels.append(_with_gradients(_blurred(grey)))
    return levels


def _blurred(image: Tensor) -> Tensor:
    """Separable Gaussian, edges repeated."""
    radius = math.ceil(2 * BLUR_SIGMA)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1, dtype=image.dtype) ** 2) / (2 * BLUR_SIGMA**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])


def _with_gradients(image: Tensor) -> Tensor:
    """Central differences."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    along_u = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_v = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return torch.cat([image, along_u, along_v], 1)
