"""Torch versions of the few pose formulas that networks report or read. Batched, float32.

The numpy float64 geometry of `spark3r_core.geometry` is for everything after the networks.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotation_from_quaternion(quat_xyzw: Tensor) -> Tensor:
    """(..., 4) of any length but zero → (..., 3, 3), by the 2 / |q|^2 formula."""
    x, y, z, w = quat_xyzw.unbind(-1)
    s = 2.0 / (quat_xyzw * quat_xyzw).sum(-1)
    rows = (
        *(1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)),
        *(s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)),
        *(s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)),
    )
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quat_xyzw_from_rotation(rotation: Tensor) -> Tensor:
    """(..., 3, 3) → unit (..., 4) with w >= 0. Uses the largest component as pivot, so half turns are exact too."""
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # four rows, each the quaternion times 2 * (its own pivot component): x, y, z, w
    four_squared = torch.stack((1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz), dim=-1)
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    candidates = torch.stack(
        (
            torch.stack((four_squared[..., 0], xy, xz, wx), dim=-1),
            torch.stack((xy, four_squared[..., 1], yz, wy), dim=-1),
            torch.stack((xz, yz, four_squared[..., 2], wz), dim=-1),
            torch.stack((wx, wy, wz, four_squared[..., 3]), dim=-1),
        ),
        dim=-2,
    )
    pivot = four_squared.argmax(-1)[..., None, None].expand(*candidates.shape[:-2], 1, 4)
    quat = candidates.gather(-2, pivot).squeeze(-2)
    quat = quat / quat.norm(dim=-1, keepdim=True)
    return torch.where(quat[..., 3:] < 0, -quat, quat)


def rigid_matrix(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 3, 3) and (..., 3) → (..., 4, 4)."""
    top = torch.cat((rotation, translation[..., None]), dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1.0
    return torch.cat((top, bottom), dim=-2)


def invert_rigid(matrix: Tensor) -> Tensor:
    """Inverse of rigid (..., 4, 4) matrices without solving."""
    rotation = matrix[..., :3, :3].transpose(-1, -2)
    return rigid_matrix(rotation, -(rotation @ matrix[..., :3, 3:])[..., 0])


def intrinsics_from_fov(
    fov_v: Tensor, fov_h: Tensor, image_hw: tuple[int, int], min_tan: float | None = None
) -> Tensor:
    """(...,) angles in radians → (..., 3, 3) in pixels of an image (H, W), principal point at its centre.

    min_tan: lower bound of the tangents (DA3: 1e-6), so that a field of view of zero stays finite.
    """
    height, width = image_hw
    tan_v, tan_h = (fov_v / 2).tan(), (fov_h / 2).tan()
    if min_tan is not None:
        tan_v, tan_h = tan_v.clamp(min=min_tan), tan_h.clamp(min=min_tan)
    zero, one = torch.zeros_like(tan_v), torch.ones_like(tan_v)
    rows = (
        *(width / 2 / tan_h, zero, one * (width / 2)),
        *(zero, height / 2 / tan_v, one * (height / 2)),
        *(zero, zero, one),
    )
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def decode_pose(encoding: Tensor, image_hw: tuple[int, int], min_tan: float | None = None) -> tuple[Tensor, Tensor]:
    """(..., 9) translation, quaternion xyzw, vertical and horizontal field of view → 4x4 matrix and intrinsics.

    The matrix points the way the family encodes: camera_from_world (VGGT, Omega) or world_from_camera (DA3).
    """
    matrix = rigid_matrix(rotation_from_quaternion(encoding[..., 3:7]), encoding[..., :3])
    return matrix, intrinsics_from_fov(encoding[..., 7], encoding[..., 8], image_hw, min_tan)


def fov_from_intrinsics(intrinsics: Tensor, image_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(..., 3, 3) → vertical and horizontal field of view (...,) in radians; the principal point is not looked at."""
    fov_v = 2 * torch.atan(image_hw[0] / 2 / intrinsics[..., 1, 1])
    fov_h = 2 * torch.atan(image_hw[1] / 2 / intrinsics[..., 0, 0])
    return fov_v, fov_h
