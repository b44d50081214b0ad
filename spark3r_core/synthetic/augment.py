"""What a real camera does to a picture: exposure and white balance that drift, vignetting, blur, noise, gamma, JPEG."""

from __future__ import annotations

import math

import torch
from torch import Tensor

JPEG_LUMA = (16, 11, 10, 16, 24, 40, 51, 61)  # first row of the usual luminance table; the model below extends it


def _uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _drift(generator: torch.Generator, batch: int, channels: int, times: Tensor, amplitude: float) -> Tensor:
    """Slow random curves (B, S, channels) over times (B, S) in video frames."""
    value = torch.zeros(batch, times.shape[1], channels, device=generator.device)
    for period in (400.0, 150.0, 60.0):
        phase = _uniform(generator, (batch, 1, channels), 0, 2 * math.pi)
        value += torch.sin(times[..., None] * (2 * math.pi / period) + phase)
    return value * (amplitude / 3)


def augment_images(images: Tensor, generator: torch.Generator, times: Tensor | None = None, mild: bool = False) -> Tensor:
    """Degrade images (B, S, 3, H, W) in [0, 1]; all randomness from `generator`, on the images' device.

    `times` (B, S) in video frames makes exposure and white balance continuous; without it views are taken to be 10 apart. `mild`
    keeps to what a good camera does.
    """
    batch, views, _, height, width = images.shape
    device = images.device
    strength = 0.4 if mild else 1.0
    if times is None:
        times = 10.0 * torch.arange(views, device=device).expand(batch, views)
    gain = _drift(generator, batch, 1, times.to(device), 0.35 * strength) + _uniform(generator, (batch, 1, 1), -0.25, 0.2)
    balance = _drift(generator, batch, 3, times.to(device), 0.08 * strength)
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)
    vignette = 1 - _uniform(generator, (batch, 1, 1, 1, 1), 0, 0.3 * strength) * (x * x + y * y) / 2
    out = images * (gain + balance).exp()[..., None, None] * vignette
    noise = _uniform(generator, (batch, 1, 1, 1, 1), 0.0, 0.03 * strength)
    out = out + torch.randn(out.shape, generator=generator, device=device) * noise
    return out.clamp_(0, 1)
