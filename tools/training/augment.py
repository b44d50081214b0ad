"""Photometric changes of a training window: what differs between cameras (all frames) and between exposures (each)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Colour, contrast, gamma, exposure drift, blur and noise of (B, S, 3, H, W) in [0, 1]; geometry stays.

    Each sample draws its own camera (channel order, colour balance, contrast, gamma, sharpness); each frame drifts a
    little around it. `generator` must live on the images' device.
    """
    batch, frames = images.shape[:2]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=images.device) * (high - low) + low

    order = torch.rand((batch, 3), generator=generator, device=images.device).argsort(1)
    images = images.gather(2, order[:, None, :, None, None].expand_as(images))
    grey = images.mean(2, keepdim=True)
    saturation = uniform(-0.2, 1.3, batch, 1, 1, 1, 1).clamp_min(0.0)  # one in eight is grey
    images = grey + (images - grey) * saturation
    balance = uniform(0.85, 1.15, batch, 1, 3, 1, 1)
    exposure = uniform(0.75, 1.35, batch, 1, 1, 1, 1) * (1 + 0.08 * uniform(-1, 1, batch, frames, 1, 1, 1))
    images = (images * balance * exposure).clamp(0.0, 1.0)
    images = images.clamp_min(1e-4) ** uniform(0.7, 1.5, batch, 1, 1, 1, 1)
    contrast = uniform(0.7, 1.15, batch, 1, 1, 1, 1)
    images = (images - 0.5) * contrast + 0.5 + uniform(-0.06, 0.06, batch, 1, 1, 1, 1)
    images = blur(images, uniform(-0.5, 0.5, batch, frames).clamp_min(0.0))
    sigma = uniform(-0.01, 0.015, batch, 1, 1, 1, 1).clamp_min(0.0)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * sigma).clamp(0.0, 1.0)


def blur(images: Tensor, strength: Tensor) -> Tensor:
    """Mix (B, S, 3, H, W) with its 3x3 mean by `strength` (B, S) in [0, 1]; half of all frames stay sharp."""
    smooth = F.avg_pool2d(images.flatten(0, 1), 3, stride=1, padding=1, count_include_pad=False).view_as(images)
    return images + (smooth - images) * strength[..., None, None, None]
