"""Rays against many primitives of one type at once.

Shapes: G groups of R rays share an origin and look at K candidate primitives. Directions need not be unit: distances
are in units of the direction's length, so camera rays with z = 1 give z-depth. Misses are infinite.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAR = 1e-3
TINY = 1e-12  # keeps a direction component that is exactly zero from making 0 * inf


def _hit(near: Tensor, far: Tensor) -> Tensor:
    # NaN (a square root of a negative number) compares false, that is, misses.
    return torch.where((near <= far) & (near > NEAR), near, torch.inf)


def box_distances(origin: Tensor, direction: Tensor, centre: Tensor, rotation: Tensor, half: Tensor) -> Tensor:
    """Slab test in the frame of each box. origin (G, 3), direction (G, 3, R), centre and half (G, K, 3), rotation (G,
    K, 3, 3).

    Returns (G, K, R). A camera inside a box does not see it.
    """
    groups, count = centre.shape[:2]
    rays = direction.shape[2]
    offset = torch.einsum("gki,gkia->gak", origin[:, None] - centre, rotation).unsqueeze(3)
    to_object = rotation.permute(0, 3, 1, 2).reshape(groups, 3 * count, 3)
    inverse = torch.bmm(to_object, direction).add_(TINY).reciprocal_().view(groups, 3, count, rays)
    middle = inverse * -offset
    reach = inverse.abs_().mul_(half.transpose(1, 2).unsqueeze(3))
    near = middle - reach
    far = middle.add_(reach)
    entry = torch.maximum(torch.maximum(near[:, 0], near[:, 1]), near[:, 2])
    leave = torch.minimum(torch.minimum(far[:, 0], far[:, 1]), far[:, 2])
    return _hit(entry, leave)


def sphere_distances(origin: Tensor, direction: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """origin (G, 3), direction (G, 3, R), centre (G, K, 3), radius (G, K) → (G, K, R)."""
    offset = origin[:, None] - centre
    square = (direction * direction).sum(1, keepdim=True)
    along = torch.bmm(offset, direction)
    rest = ((offset * offset).sum(2) - radius * radius).unsqueeze(2)
    root = (along * along - square * rest).sqrt_()
    near = (-along - root) / square
    return _hit(near, (root - along) / square)


def cylinder_distances(
    origin: Tensor, direction: Tensor, centre: Tensor, radius: Tensor, half_height: Tensor
) -> Tensor:
    """Capped cylinders about the world's y axis. centre (G, K, 3), radius and half_height (G, K) → (G, K, R)."""
    offset = origin[:, None] - centre
    flat = direction[:, 0::2]
    square = (flat * flat).sum(1, keepdim=True) + TINY
    along = torch.bmm(offset[:, :, 0::2], flat)
    rest = (offset[:, :, 0] ** 2 + offset[:, :, 2] ** 2 - radius * radius).unsqueeze(2)
    root = (along * along - square * rest).sqrt_()
    inverse = (direction[:, 1:2] + TINY).reciprocal()
    middle = -offset[:, :, 1:2] * inverse
    reach = half_height.unsqueeze(2) * inverse.abs()
    near = torch.maximum((-along - root) / square, middle - reach)
    return _hit(near, torch.minimum((root - along) / square, middle + reach))


def shell_distances(origin: Tensor, direction: Tensor, room_min: Tensor, room_max: Tensor) -> tuple[Tensor, Tensor]:
    """The inside of an axis-aligned room seen from within: distance (G, R) and face 0…5 = -x +x -y +y -z +z (G, R)."""
    safe = direction + TINY
    outward = safe > 0
    bound = torch.where(outward, room_max.unsqueeze(2), room_min.unsqueeze(2)) - origin.unsqueeze(2)
    distance, axis = (bound / safe).min(dim=1)
    side = outward.gather(1, axis.unsqueeze(1)).squeeze(1)
    return distance, 2 * axis + side
