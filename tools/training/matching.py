"""Exact correspondences between patches of different frames, from depth and pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

OCCLUSION_TOLERANCE = 0.08


@dataclass(frozen=True)
class PatchMatches:
    """Where each patch centre of frame `pairs[p][0]` is seen in frame `pairs[p][1]`.

    target: (B, P, N) index of the patch it falls into (0 where invalid); corners, shares: (B, P, N, 4) the four patches
    whose centres surround it and their bilinear weights; valid: (B, P, N) seen, not occluded;
    uv: (B, P, N, 2) exact position in pixels of the other frame; moved: (B, P, N) how far that is from the patch's own
    place, in patches. centres: (N, 2) of the patches, and place: (B, P, N, 2) that of `uv` within the outermost ones,
    both in patches, column first. N patches in row order, P pairs.
    """

    pairs: tuple[tuple[int, int], ...]
    target: Tensor
    corners: Tensor
    shares: Tensor
    valid: Tensor
    uv: Tensor
    moved: Tensor
    centres: Tensor
    place: Tensor


def window_pairs(frames: int) -> tuple[tuple[int, int], ...]:
    """Pairs supervised in a window: (t, t-1) and (t, 0), both ways, each once."""
    forward = {(t, t - 1) for t in range(1, frames)} | {(t, 0) for t in range(1, frames)}
    return tuple(sorted(forward | {(j, i) for i, j in forward}))


def patch_centres(height: int, width: int, patch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel indices (row, column), each (N,), of the pixel that stands for each patch: the one right of its centre."""
    rows = torch.arange(height // patch, device=device) * patch + patch // 2
    columns = torch.arange(width // patch, device=device) * patch + patch // 2
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    return row.reshape(-1), column.reshape(-1)


def unproject(depth: Tensor, intrinsics: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Camera points (..., N, 3) of pixels (row, column), from z-depth (..., N) and intrinsics (..., 3, 3)."""
    x = (column + 0.5 - intrinsics[..., 0, 2, None]) / intrinsics[..., 0, 0, None]
    y = (row + 0.5 - intrinsics[..., 1, 2, None]) / intrinsics[..., 1, 1, None]
    return torch.stack([x, y, torch.ones_like(x)], -1) * depth[..., None]


@torch.no_grad()
def match_patches(
    depth: Tensor, world_from_camera: Tensor, intrinsics: Tensor, patch: int, pairs: Sequence[tuple[int, int]]
) -> PatchMatches:
    """Match patch centres by projection, with an occlusion test of 8 % of the depth.

    Args:
        depth: (B, S, H, W), not finite where there is no surface.
        world_from_camera: (B, S, 4, 4).
        intrinsics: (B, S, 3, 3) in pixels.
    """
    batch, _, height, width = depth.shape
    row, column = patch_centres(height, width, patch, depth.device)
    first = torch.tensor([i for i, _ in pairs], device=depth.device)
    second = torch.tensor([j for _, j in pairs], device=depth.device)
    centre_depth = depth[:, :, row, column]  # (B, S, N)
    solid = torch.isfinite(centre_depth) & (centre_depth > 0)
    points = unproject(torch.where(solid, centre_depth, 1.0), intrinsics, row, column)
    world = points @ world_from_camera[..., :3, :3].transpose(-1, -2) + world_from_camera[..., None, :3, 3]
    pose = world_from_camera[:, second]
    seen = (world[:, first] - pose[..., None, :3, 3]) @ pose[..., :3, :3]  # rows times R = Rᵀ p
    z = seen[..., 2]
    in_front = z > 1e-3
    scale = 1.0 / torch.where(in_front, z, 1.0)
    k = intrinsics[:, second]
    u = seen[..., 0] * scale * k[..., 0, 0, None] + k[..., 0, 2, None]
    v = seen[..., 1] * scale * k[..., 1, 1, None] + k[..., 1, 2, None]
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    iu = u.floor().clamp(0, width - 1).long()
    iv = v.floor().clamp(0, height - 1).long()
    other = depth[:, second].reshape(batch, len(pairs), -1).gather(-1, iv * width + iu)
    visible = (other - z).abs() < OCCLUSION_TOLERANCE * z  # inf and nan compare false
    valid = solid[:, first] & in_front & inside & visible
    target = (iv // patch) * (width // patch) + iu // patch
    uv = torch.stack([u, v], -1)
    own = (torch.stack([column, row], -1) + 0.5) / patch
    moved = (uv / patch - own).norm(dim=-1)
    place = torch.where(valid[..., None], uv / patch, 0.0)
    place = torch.minimum(torch.maximum(place, own[0]), own[-1])  # no mean of centres lies outside of them
    corners, shares = surrounding(torch.where(valid[..., None], uv, 0.0), (height // patch, width // patch), patch)
    target = torch.where(valid, target, 0)
    return PatchMatches(tuple(pairs), target, corners, shares, valid, uv, moved, own, place)


def surrounding(uv: Tensor, grid_hw: tuple[int, int], patch: int) -> tuple[Tensor, Tensor]:
    """Indices and bilinear weights (..., 4) of the patch centres around positions `uv` (..., 2) in pixels.

    Attention that follows these weights fetches the position itself, to a fraction of a patch, and not the nearest
    patch's. Outside the outermost centres the nearest ones are taken.
    """
    rows, columns = grid_hw
    # patch_centres() takes the pixel right of the centre, whose own centre is half a pixel further
    place = (uv - (patch // 2 + 0.5)) / patch
    x, y = place[..., 0].clamp(0, columns - 1), place[..., 1].clamp(0, rows - 1)
    left, top = x.floor().clamp(max=columns - 2), y.floor().clamp(max=rows - 2)
    fx, fy = x - left, y - top
    first = (top * columns + left).long()
    corners = torch.stack([first, first + 1, first + columns, first + columns + 1], -1)
    shares = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)
    return corners, shares
