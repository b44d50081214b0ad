"""JPEG's loss without its bit stream: 4:2:0 chroma, 8×8 DCT, quantisation (ITU-T T.81, annexes A and K), in torch on
any device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
YCC_FROM_RGB = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
RGB_FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def _dct_matrix(device: torch.device) -> Tensor:
    k = torch.arange(8, device=device, dtype=torch.float32)
    matrix = torch.cos((2 * k[None, :] + 1) * k[:, None] * torch.pi / 16) / 2
    matrix[0] /= 2**0.5
    return matrix


def _tables(quality: Tensor) -> tuple[Tensor, Tensor]:
    """Quantisation steps (N, 8, 8) of luminance and chrominance for qualities (N,) in 1…100, scaled as libjpeg does."""
    quality = quality.clamp(1, 100)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    luma = torch.tensor(LUMA_TABLE, device=quality.device, dtype=torch.float32)
    chroma = torch.full((8, 8), 99.0, device=quality.device)
    chroma[:4, :4] = torch.tensor(CHROMA_CORNER, device=quality.device, dtype=torch.float32)
    scaled = [((table * scale + 50) / 100).floor().clamp(1, 255) for table in (luma, chroma)]
    return scaled[0], scaled[1]


def _quantise(planes: Tensor, steps: Tensor) -> Tensor:
    """planes (N, C, H, W), H and W multiples of 8, in 0…255 around 128; steps (N, 8, 8)."""
    count, channels, height, width = planes.shape
    dct = _dct_matrix(planes.device)
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4).contiguous()
    coefficients = (dct @ (blocks @ dct.T)) / steps[:, None, None, None]
    coefficients = coefficients.round_() * steps[:, None, None, None]
    blocks = dct.T @ (coefficients @ dct)
    return blocks.transpose(3, 4).reshape(planes.shape)


def jpeg_like(images: Tensor, quality: Tensor) -> Tensor:
    """images (N, 3, H, W) in [0, 1] after compression at `quality` (N,), 1…100, with chroma at half resolution."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate") * 255
    forward = torch.tensor(YCC_FROM_RGB, device=images.device)
    back = torch.tensor(RGB_FROM_YCC, device=images.device)
    ycc = torch.einsum("ij,njhw->nihw", forward, padded)
    luma_steps, chroma_steps = _tables(quality.to(images))
    luma = _quantise(ycc[:, :1] - 128, luma_steps) + 128
    chroma = _quantise(functional.avg_pool2d(ycc[:, 1:], 2), chroma_steps)
    # Decoders interpolate half-resolution chroma with weights 3/4 and 1/4, which is what bilinear scaling by two does.
    chroma = functional.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,njhw->nihw", back, torch.cat([luma, chroma], 1)) / 255
    return rgb[..., :height, :width].clamp_(0, 1)
