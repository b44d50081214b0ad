"""What a real camera does to a picture: exposure and white balance that drift, vignetting, contrast, blur, noise, JPEG.

Decisions (how much blur, which JPEG quality) are made once per sequence from a CPU generator; noise is drawn on the
images' device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from spark3r_core.synthetic.jpeg import jpeg_like

BLUR_SIZE = 7


def _uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _drift(generator: torch.Generator, channels: int, times: Tensor, amplitude: float) -> Tensor:
    """Slow random curves (B, S, channels) over times (B, S) in video frames."""
    value = torch.zeros(*times.shape, channels)
    for period in (400.0, 150.0, 60.0):
        phase = _uniform(generator, (len(times), 1, channels), 0, 2 * math.pi)
        value += torch.sin(times[..., None] * (2 * math.pi / period) + phase)
    return value * (amplitude / 3)


def _blur_kernels(sigma: Tensor, streak: Tensor, angle: Tensor) -> Tensor:
    """(N, BLUR_SIZE, BLUR_SIZE): Gaussians of `sigma` pixels, stretched by `streak` pixels along `angle` (all (N,))."""
    axis = torch.arange(BLUR_SIZE, dtype=torch.float32) - BLUR_SIZE // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along = (c * x + s * y) ** 2 / (sigma**2 + streak**2 / 12).clamp_min(0.04)[:, None, None]
    across = (c * y - s * x) ** 2 / (sigma**2).clamp_min(0.04)[:, None, None]
    kernel = torch.exp(-0.5 * (along + across))
    return kernel / kernel.sum((1, 2), keepdim=True)


def _blur(images: Tensor, kernels: Tensor) -> Tensor:
    """images (N, 3, H, W), one kernel each."""
    count, _, height, width = images.shape
    flat = functional.pad(images, (BLUR_SIZE // 2,) * 4, mode="replicate").flatten(0, 1)[None]
    weights = kernels.to(images.device).repeat_interleave(3, 0)[:, None]
    return functional.conv2d(flat, weights, groups=3 * count).view(count, 3, height, width)


def augment_images(
    images: Tensor,
    generator: torch.Generator,
    times: Tensor | None = None,
    mild: bool = False,
    noise_seed: int | None = None,
) -> Tensor:
    """Degrade images (B, S, 3, H, W) in [0, 1]; deterministic from `generator` (CPU) on one kind of device.

    `times` (B, S) in video frames makes exposure and white balance continuous in time; without it views count as 10
    apart. The same generator state gives the same camera; `noise_seed` then varies what differs from frame to frame
    (sensor noise, shake), so that frames of one camera can be degraded one by one. `mild` keeps to what a good camera
    does.
    """
    batch, views, _, height, width = images.shape
    device = images.device
    strength = 0.4 if mild else 1.0
    if times is None:
        times = 10.0 * torch.arange(views).expand(batch, views)
    times = times.cpu().float()
    gain = _drift(generator, 1, times, 0.35 * strength) + _uniform(
        generator, (batch, 1, 1), -0.3 * strength, 0.3 * strength
    )
    balance = _drift(generator, 3, times, 0.06 * strength) + _uniform(
        generator, (batch, 1, 3), -0.1 * strength, 0.1 * strength
    )
    vignette = _uniform(generator, (batch,), 0, 0.35 * strength)
    contrast = _uniform(generator, (batch,), -0.25 * strength, 0.25 * strength).exp()
    noise_level = _uniform(generator, (batch,), 0, 1) ** 2 * 0.05 * strength
    scale = max(height, width) / 192  # blur is meant in pixels of a 192-pixel image
    defocus = (_uniform(generator, (batch,), -0.6, 0.7).clamp_min(0) * strength * scale).clamp_max(2.0)
    shaky = _uniform(generator, (batch,), -1.0, 2.5).clamp_min(0) * strength * scale
    compressed = torch.rand(batch, generator=generator) < 0.6
    quality = _uniform(generator, (batch,), 60 if mild else 25, 95)
    monochrome = torch.rand(batch, generator=generator) < (0.0 if mild else 0.08)
    seed = int(torch.randint(2**40, (1,), generator=generator)) + (
        0 if noise_seed is None else 1_000_003 * (noise_seed + 1)
    )
    per_frame = torch.Generator().manual_seed(seed)
    streak = shaky[:, None] * torch.rand(batch, views, generator=per_frame)
    angle = _uniform(per_frame, (batch, views), 0, math.pi)

    y = torch.linspace(-1, 1, height, device=device)[:, None] * (height / max(height, width))
    x = torch.linspace(-1, 1, width, device=device) * (width / max(height, width))
    falloff = 1 - vignette.to(device)[:, None, None] * (x * x + y * y)
    out = images * (gain + balance).exp().to(device)[..., None, None] * falloff[:, None, None]
    mono = monochrome.nonzero()[:, 0].to(device)
    out[mono] = out[mono].mean(2, keepdim=True).expand(-1, -1, 3, -1, -1)
    bent = ((contrast - 1).abs() > 0.02).nonzero()[:, 0].tolist()
    for b in bent:
        out[b] = out[b].clamp_(1e-4, 1.0).pow_(float(contrast[b]))
    blurred = ((defocus + streak.amax(1)) > 0.3).nonzero()[:, 0]
    if len(blurred):
        kernels = _blur_kernels(
            defocus[blurred].repeat_interleave(views), streak[blurred].flatten(), angle[blurred].flatten()
        )
        chosen = blurred.to(device)
        out[chosen] = _blur(out[chosen].flatten(0, 1), kernels).view(len(blurred), views, 3, height, width)
    on_device = torch.Generator(device=device).manual_seed(seed)
    noise = torch.randn(out.shape, generator=on_device, device=device)
    # Shot noise grows with the square root of the signal; the rest is read noise.
    level = noise_level.to(device).view(-1, 1, 1, 1, 1)
    out = (out.clamp_(0, 1) + noise * level * (0.4 + out.sqrt())).clamp_(0, 1)
    squeezed = compressed.nonzero()[:, 0]
    if len(squeezed):
        chosen = squeezed.to(device)
        flat = jpeg_like(out[chosen].flatten(0, 1), quality[squeezed].repeat_interleave(views))
        out[chosen] = flat.view(len(squeezed), views, 3, height, width)
    return out
