"""Colour of the nearest hit of each ray: texture in surface coordinates, then light. Shapes: G groups of R rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spark3r_core.synthetic.materials import MATERIAL_ROWS
from spark3r_core.synthetic.patterns import LEVEL_OFFSETS, LEVELS, PATTERN_COUNT, SIZE, TEXELS_PER_PATTERN, pattern_bank
from spark3r_core.synthetic.world import SHELL_FACES, Worlds

SHELL_AXIS, BOX, SPHERE, CYLINDER = 0, 3, 4, 5  # shape codes: 0…2 are shell faces by their axis
GEOMETRY_ROWS = 16


def surface_table(worlds: Worlds) -> Tensor:
    """(rows, W * P): centre 3, rotation 9 (row-major), half 3, shape code 1, material; gathered per ray."""
    count, total = worlds.centre.shape[:2]
    code = torch.full((total,), BOX, device=worlds.device, dtype=torch.float32)
    code[:SHELL_FACES] = torch.arange(SHELL_FACES, device=worlds.device) // 2
    code[SHELL_FACES + worlds.box_count :] = SPHERE
    code[SHELL_FACES + worlds.box_count + worlds.sphere_count :] = CYLINDER
    material = worlds.material.clone()
    bank_rows = worlds.bank.new_tensor(_bank_rows(worlds))[worlds.bank].float()  # first pattern of each world's bank
    material[..., 0] += bank_rows[:, None]
    material[..., 2] += bank_rows[:, None]
    parts = [worlds.centre, worlds.rotation.flatten(2), worlds.half, code.expand(count, total)[..., None], material]
    return torch.cat(parts, dim=2).permute(2, 0, 1).reshape(-1, count * total).contiguous()


def _bank_rows(worlds: Worlds) -> list[int]:
    """For bank 0, 1, 2: its first row in the concatenation that `_texels` makes of the banks in use."""
    used = sorted(set(worlds.bank.tolist()))
    return [used.index(bank) * PATTERN_COUNT if bank in used else 0 for bank in range(max(used) + 1)]


def _texels(worlds: Worlds) -> Tensor:
    banks = [pattern_bank(bank).to(worlds.device) for bank in sorted(set(worlds.bank.tolist()))]
    return banks[0] if len(banks) == 1 else torch.cat(banks)


def _sample(texels: Tensor, pattern: Tensor, u: Tensor, v: Tensor, texels_per_pixel: Tensor) -> Tensor:
    """Bilinear lookup at pattern coordinates (1 = one repeat) in the mip level whose texel is about one pixel."""
    level = texels_per_pixel.clamp(1.0, 2.0 ** (LEVELS - 1)).log2_().round_().int()
    size = SIZE >> level
    offset = torch.tensor(LEVEL_OFFSETS, device=u.device, dtype=torch.int32)[level]
    base = pattern.int() * TEXELS_PER_PATTERN + offset
    x, y = (u - u.floor()) * size - 0.5, (v - v.floor()) * size - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    mask = size - 1
    left, top = x0.int() & mask, y0.int() & mask
    right, below = (left + 1) & mask, (top + 1) & mask
    top, below = base + top * size, base + below * size
    a, b = texels[top + left].float(), texels[top + right].float()
    c, d = texels[below + left].float(), texels[below + right].float()
    upper, lower = torch.lerp(a, b, fx), torch.lerp(c, d, fx)
    return torch.lerp(upper, lower, fy).mul_(1 / 255)


def _surface(g: Tensor, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal (3, G, R) and texture coordinates u, v (G, R) in model units from gathered rows and hits (3, G, R)."""
    offset = point - g[0:3]
    rotation = g[3:12].view(3, 3, *g.shape[1:])
    local = (rotation * offset[:, None]).sum(0)
    half, code = g[12:15], g[15]
    share = (local / half).abs_()
    axis = torch.where(share[1] > share[0], 1, 0)
    axis = torch.where(share[2] > torch.maximum(share[0], share[1]), 2, axis)
    shell, cylinder = code < BOX, code == CYLINDER
    radial = (local[0] * local[0] + local[2] * local[2]).sqrt_()
    side = cylinder & (radial * half[1] > local[1].abs() * half[0])
    axis = torch.where(shell, code.long(), torch.where(cylinder, 1, axis))
    on_x, on_y, on_z = axis == 0, axis == 1, axis == 2
    u = torch.where(on_x, local[2], local[0])
    v = torch.where(on_y, local[2], local[1])
    dominant = torch.where(on_x, local[0], torch.where(on_y, local[1], local[2]))
    sphere = code == SPHERE
    stretch = torch.where(sphere, half[0] / dominant.abs().clamp_min(1e-6), 1.0)
    u, v = u * stretch, v * stretch
    # Opposite and neighbouring faces show different parts of the pattern.
    shift = torch.where(shell, 0.0, axis * 0.37 + torch.where(dominant > 0, 0.21, 0.0))
    u = torch.where(side, torch.atan2(local[2], local[0]) * half[0], u + shift)
    v = torch.where(side, local[1], v)
    flat = torch.stack([on_x, on_y, on_z]).float()
    flat = torch.where(sphere, local / half[0], flat)
    flat[0] = torch.where(side, local[0] / half[0], flat[0])
    flat[1] = torch.where(side, 0.0, flat[1])
    flat[2] = torch.where(side, local[2] / half[0], flat[2])
    normal = (rotation * flat[None]).sum(1)
    return normal, u, v


@dataclass(frozen=True)
class Hits:
    """What each ray met first: world (G,), primitive, distance and shadow (G, R)."""

    world: Tensor
    primitive: Tensor
    distance: Tensor
    shadow: Tensor


def shade(
    worlds: Worlds, table: Tensor, hits: Hits, origin: Tensor, direction: Tensor, pixel_angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Colour (G, 3, R) in [0, 1] and sky mask (G, R).

    origin (G, 3), direction (G, 3, R) with z-depth 1, pixel_angle (G,) = 1 / fx.
    """
    world, primitive, distance = hits.world, hits.primitive, hits.distance
    groups, rays = distance.shape
    flat_index = (primitive + world[:, None] * worlds.centre.shape[1]).flatten()
    g = table.index_select(1, flat_index).view(GEOMETRY_ROWS + MATERIAL_ROWS, groups, rays)
    along = direction.transpose(0, 1)  # (3, G, R)
    point = origin.T[:, :, None] + along * distance
    sky = worlds.open_sky[world][:, None] & (primitive == 2)
    normal, u, v = _surface(g, point)
    length = (along * along).sum(0).sqrt_()
    facing = (normal * along).sum(0)
    normal = torch.where(facing > 0, -normal, normal)
    cosine = (facing.abs() / length).clamp_min_(0.1)
    up = along[1].abs() + 0.25 * length
    u, v = torch.where(sky, along[0] / up, u), torch.where(sky, along[2] / up, v)

    m = g[GEOMETRY_ROWS:]
    texels = _texels(worlds)
    # A slanted surface is seen with more texels per pixel one way only; the square root trades blur against aliasing.
    footprint = torch.where(sky, 1.0, distance * cosine.rsqrt()) * pixel_angle[:, None] * SIZE
    main = _sample(texels, m[0], u * m[1] + m[5], v * m[1] + m[6], footprint * m[1])
    detail = _sample(texels, m[2], u * m[3] + m[6], v * m[3] + m[5], footprint * m[3])
    first = (2 * main).clamp_max_(1.0)
    second = (2 * main - 1).clamp_min_(0.0)
    albedo = m[7:10] + (m[10:13] - m[7:10]) * first + (m[13:16] - m[10:13]) * second
    albedo = albedo * (1 + m[4] * (detail - 0.5))

    def of_world(values: Tensor) -> Tensor:
        return values[world].T[:, :, None]

    shaded = 1 - worlds.shadow_depth[world][:, :, None] * hits.shadow[:, None]  # (G, 2, R)
    sun = (normal * of_world(worlds.sun_direction)).sum(0).clamp_min_(0.0) * shaded[:, 0]
    to_lamp = of_world(worlds.lamp_position) - point
    square = (to_lamp * to_lamp).sum(0)
    lamp_cosine = (normal * to_lamp).sum(0).clamp_min_(0.0) * square.rsqrt()
    lamp = lamp_cosine * 8.0 / (4.0 + square) * shaded[:, 1]
    to_wall = torch.minimum(point - of_world(worlds.room_min), of_world(worlds.room_max) - point)
    corner = torch.exp(-4.0 * to_wall.clamp_min_(0.0)).sum(0) - (g[15] < BOX).float()
    open_share = (1 - 0.3 * corner).clamp_min_(0.3) * (0.85 - 0.15 * normal[1])
    light = (
        of_world(worlds.ambient) * open_share + of_world(worlds.sun_colour) * sun + of_world(worlds.lamp_colour) * lamp
    )
    view = along / -length
    bisector = to_lamp * square.rsqrt() + view
    shine = (normal * bisector).sum(0) * (bisector * bisector).sum(0).clamp_min(1e-9).rsqrt()
    shine = m[16] * lamp * shine.clamp_min_(0.0).pow_(24)
    lit = albedo * albedo * torch.maximum(light, m[17]) + of_world(worlds.lamp_colour) * shine
    return lit.clamp_(1e-5, 1.0).sqrt_().transpose(0, 1), sky
