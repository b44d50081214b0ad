"""Heads of pi3 and Pi3X after their per-frame decoders: dense maps, the pose, the focal length.

Shapes: N frames (batch and frame axes joined), P = h*w patches of p x p pixels, C width, H = h*p, W = w*p.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.models.dpt import uv_vectors
from spark3r_core.models.pose_encoding import rigid_matrix


class LinearMapHead(nn.Module):
    """One linear layer per patch whose outputs are the pixels of the patch (pi3's `LinearPts3d`).

    Output channel index of `proj` = c*p*p + dy*p + dx.
    """

    def __init__(self, dim: int, patch_size: int, channels: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Linear(dim, channels * patch_size**2)

    def forward(self, tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """tokens: (N, P, C) → (N, channels, H, W)."""
        maps = self.proj(tokens).transpose(1, 2).unflatten(2, grid_hw)
        return F.pixel_shuffle(maps, self.patch_size)


def _with_uv(maps: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Append two channels: the normalised image coordinates (u, v) of the map's cells, not their sines."""
    height, width = maps.shape[-2:]
    u, v = uv_vectors(height, width, image_hw, maps.device)
    grid = torch.stack(torch.meshgrid(u, v, indexing="xy")).to(maps.dtype)
    return torch.cat([maps, grid.expand(len(maps), -1, -1, -1)], 1)


def _conv3(in_dim: int, out_dim: int) -> nn.Conv2d:
    return nn.Conv2d(in_dim, out_dim, 3, padding=1, padding_mode="replicate")


class _ResidualBlock(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(1, dim), nn.ReLU(), _conv3(dim, hidden),
            nn.GroupNorm(hidden // 32, hidden), nn.ReLU(), _conv3(hidden, dim),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x


class ConvMapHead(nn.Module):
    """Pi3X's dense head: three doublings of the patch grid, then bilinear to image size and one small output each.

    Normalised image coordinates are appended before every doubling and once more at image size.
    """

    def __init__(self, dim: int, widths: Sequence[int], out_channels: Sequence[int]) -> None:
        super().__init__()
        self.upsample_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(nn.ConvTranspose2d(before + 2, width, 2, stride=2), _conv3(width, width)),
                _ResidualBlock(width, 2 * width),
                _ResidualBlock(width, 2 * width),
            )
            for before, width in zip([dim, *widths[:-1]], widths, strict=True)
        )
        self.output_block = nn.ModuleList(
            nn.Sequential(_conv3(widths[-1] + 2, 32), nn.ReLU(), nn.Conv2d(32, channels, 1))
            for channels in out_channels
        )

    def forward(self, tokens: Tensor, grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> list[Tensor]:
        """tokens: (N, P, C) → one (N, out_channels[i], H, W) per output."""
        maps = tokens.transpose(1, 2).unflatten(2, grid_hw)
        for block in self.upsample_blocks:
            maps = block(_with_uv(maps, image_hw))
        maps = F.interpolate(maps, image_hw, mode="bilinear", align_corners=False)
        maps = _with_uv(maps, image_hw)
        return [block(maps) for block in self.output_block]


class _ResidualMlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.res_conv1 = nn.Linear(dim, dim)
        self.res_conv2 = nn.Linear(dim, dim)
        self.res_conv3 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.res_conv3(F.relu(self.res_conv2(F.relu(self.res_conv1(x))))))


class PoseHead(nn.Module):
    """Mean over the patches' features to one camera pose."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.res_conv = nn.ModuleList([_ResidualMlp(dim), _ResidualMlp(dim)])
        self.more_mlps = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())
        self.fc_t = nn.Linear(dim, 3)
        self.fc_rot = nn.Linear(dim, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (N, P, C) → world_from_camera (N, 4, 4)."""
        for block in self.res_conv:
            tokens = block(tokens)
        feature = self.more_mlps(tokens.mean(1))
        rotation = nearest_rotation(self.fc_rot(feature).unflatten(1, (3, 3)))
        return rigid_matrix(rotation, self.fc_t(feature))


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Rotation nearest to a matrix whose rows were brought to unit length first: (N, 3, 3) → (N, 3, 3).

    Special orthogonal Procrustes (Levinson et al. 2020, "An Analysis of SVD for Deep Rotation Estimation").
    """
    u, _, vh = torch.linalg.svd(F.normalize(matrix, dim=-1).transpose(-1, -2))
    v = vh.transpose(-1, -2)
    det = torch.linalg.det(v @ u.transpose(-1, -2))
    flip = torch.stack([torch.ones_like(det), torch.ones_like(det), det], -1)
    return (v * flip[..., None, :]) @ u.transpose(-1, -2)


def fit_intrinsics(local_points: Tensor, weight: Tensor) -> Tensor:
    """Pinhole camera with fx = fy and the principal point in the middle that explains local point maps best.

    A pixel at offset r = (u - cx, v - cy) was seen in direction a = (x/z, y/z). The pixel is exact and the direction
    is what the network estimated, so a = r/f is regressed: the minimum of sum w |a - r/f|^2 is
    f = sum w r.r / sum w r.a. f is kept within 0.1 and 20 image sides, so that maps which are not those of a camera
    (random weights) still give a usable matrix.

    Args:
        local_points: (N, H, W, 3), camera frame, z > 0.
        weight: (N, H, W), not negative.

    Returns:
        (N, 3, 3) float32, pixels, pixel centres at integer + 0.5.
    """
    height, width = local_points.shape[1:3]
    x, y, z = local_points.float().unbind(-1)
    rx = torch.arange(width, dtype=x.dtype, device=x.device) + 0.5 - width / 2
    ry = torch.arange(height, dtype=x.dtype, device=x.device)[:, None] + 0.5 - height / 2
    z = z.clamp_min(1e-6)
    numerator = (weight * (rx**2 + ry**2)).sum((1, 2))
    denominator = (weight * (rx * (x / z) + ry * (y / z))).sum((1, 2))
    side = float(max(height, width))
    focal = 1 / (denominator / numerator.clamp_min(1e-12)).clamp(1 / (20 * side), 1 / (0.1 * side))
    intrinsics = torch.zeros(len(focal), 3, 3, dtype=x.dtype, device=x.device)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = width / 2, height / 2, 1.0
    return intrinsics
