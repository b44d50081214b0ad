"""Ray-casting of procedural worlds: exact z-depth and textured, shaded, linear-light colour.

Images are cut into tiles; per tile only the primitives whose bounding sphere meets the tile's cone of rays are
intersected, and texture and light are evaluated once per ray, for the nearest hit. On a CPU tiles go one by one so that
everything stays in cache; on CUDA thousands go together.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.synthetic.intersect import box_distances, cylinder_distances, shell_distances, sphere_distances
from spark3r_core.synthetic.shading import Hits, shade, surface_table
from spark3r_core.synthetic.world import SHELL_FACES, Worlds

TILE_HW = (48, 48)
HIT_TILES = {"cpu": 1}  # tiles intersected together; elsewhere than on a CPU, as many as are shaded
SHADE_RAYS = {"cpu": 1 << 15}  # rays shaded together
SHADE_RAYS_GPU = 1 << 22
SHADOW_BIAS = 0.02  # what is this close behind a surface, in model units, is not in its shadow


def camera_rays(intrinsics: Tensor, image_hw: tuple[int, int], k1: Tensor | None = None) -> Tensor:
    """Ray directions (F, 3, H, W) with z = 1 through pixel centres (integer + 0.5), for intrinsics (F, 3, 3).

    `k1` (F,) is the first radial coefficient of the OpenCV model, x_distorted = x (1 + k1 r²), inverted by Newton's
    method.
    """
    height, width = image_hw
    u = torch.arange(width, device=intrinsics.device, dtype=torch.float32) + 0.5
    v = torch.arange(height, device=intrinsics.device, dtype=torch.float32) + 0.5
    y = ((v - intrinsics[:, 1, 2, None]) / intrinsics[:, 1, 1, None])[:, :, None].expand(-1, -1, width)
    x = ((u - intrinsics[:, 0, 2, None]) / intrinsics[:, 0, 0, None])[:, None, :] - (
        intrinsics[:, 0, 1] / intrinsics[:, 0, 0]
    )[:, None, None] * y
    if k1 is not None:
        k = k1.to(x)[:, None, None]
        distorted = (x * x + y * y).sqrt()
        radius = distorted.clone()
        for _ in range(4):
            radius = radius - (radius * (1 + k * radius**2) - distorted) / (1 + 3 * k * radius**2)
        shrink = torch.where(distorted > 0, radius / distorted.clamp_min(1e-12), 1.0)
        x, y = x * shrink, y * shrink
    return torch.stack([x, y, torch.ones_like(x)], dim=1)


def lens_rays(camera: Intrinsics) -> Tensor:
    """Ray directions (3, H, W) float32 with z = 1 through the pixel centres of any lens.

    Raises GeometryError where a pixel shows nothing in front of the camera: z-depth would mean nothing there.
    """
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = camera.rays(np.stack([u, v], -1))
    if not np.isfinite(rays).all():
        raise GeometryError(
            f"the lens {list(camera.distortion)} sees nothing ahead of it in a corner of its image;"
            " choose a narrower field of view or other coefficients"
        )
    return torch.from_numpy(rays).float().permute(2, 0, 1)


def _tiles(rays: Tensor, tile_hw: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """(F, 3, H, W) → (F * rows * columns, 3, tile pixels); the last row and column repeat to fill the last tiles."""
    frames, _, height, width = rays.shape
    th, tw = tile_hw
    rows, columns = -(-height // th), -(-width // tw)
    if (rows * th, columns * tw) != (height, width):
        y = torch.arange(rows * th, device=rays.device).clamp_max(height - 1)
        x = torch.arange(columns * tw, device=rays.device).clamp_max(width - 1)
        rays = rays[:, :, y][..., x]
    cut = rays.reshape(frames, 3, rows, th, columns, tw).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(frames * rows * columns, 3, th * tw), (rows, columns)


def _untile(
    values: Tensor, frames: int, grid: tuple[int, int], tile_hw: tuple[int, int], image_hw: tuple[int, int]
) -> Tensor:
    """(F * rows * columns, C, tile pixels) → (F, C, H, W)."""
    (rows, columns), (th, tw) = grid, tile_hw
    whole = values.reshape(frames, rows, columns, -1, th, tw).permute(0, 3, 1, 4, 2, 5)
    return whole.reshape(frames, -1, rows * th, columns * tw)[..., : image_hw[0], : image_hw[1]].contiguous()


def _in_cone(origin: Tensor, direction: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Which bounding spheres (G, K) meet the cone around all rays of a group (conservative)."""
    # Explicit squares: norms over a strided dimension are slow on a CPU.
    unit = direction * (direction * direction).sum(1, keepdim=True).rsqrt_()
    axis = unit.mean(2)
    axis = axis / axis.norm(dim=1, keepdim=True)
    half_angle = torch.einsum("gi,gir->gr", axis, unit).amin(1).clamp(-1, 1).acos() + 1e-3
    offset = centre - origin[:, None]
    away = (offset * offset).sum(2).sqrt()
    angle = (torch.einsum("gki,gi->gk", offset, axis) / away.clamp_min(1e-9)).clamp(-1, 1).acos()
    return (away <= radius) | (angle <= half_angle[:, None] + (radius / away.clamp_min(1e-9)).clamp(0, 1).asin())


def _nearest_solid(
    worlds: Worlds, world: Tensor, origin: Tensor, direction: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """Distance (infinite: none) and primitive (G, R) of the first box, sphere or cylinder each ray meets."""
    distance = torch.full_like(direction[:, 0], torch.inf)
    primitive = torch.zeros_like(distance, dtype=torch.int64)
    first = SHELL_FACES
    for shape, count in enumerate((worlds.box_count, worlds.sphere_count, worlds.cylinder_count)):
        seen = visible[:, first - SHELL_FACES : first - SHELL_FACES + count]
        most = int(seen.sum(1).max())
        if most:
            index = (seen.float().topk(most, dim=1).indices if len(seen) > 1 else seen[0].nonzero().T) + first
            centre, half = worlds.centre[world[:, None], index], worlds.half[world[:, None], index]
            if shape == 0:
                hits = box_distances(origin, direction, centre, worlds.rotation[world[:, None], index], half)
            elif shape == 1:
                hits = sphere_distances(origin, direction, centre, half[..., 0])
            else:
                hits = cylinder_distances(origin, direction, centre, half[..., 0], half[..., 1])
            near, which = hits.min(dim=1)
            closer = near < distance
            distance = torch.where(closer, near, distance)
            primitive = torch.where(closer, index.gather(1, which), primitive)
        first += count
    return distance, primitive


def _trace(
    worlds: Worlds, world: Tensor, origin: Tensor, direction: Tensor, visible: Tensor, bounds: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, primitive and shadow (1: hidden from the shadow-casting light) of each ray's first surface, (G, R)."""
    wall, face = shell_distances(origin, direction, worlds.room_min[world], worlds.room_max[world])
    solid, primitive = _nearest_solid(worlds, world, origin, direction, visible)
    primitive = torch.where(solid < wall, primitive, face)
    distance = torch.minimum(solid, wall)
    if len(world) == 1 and not bool(worlds.shadow_depth[world[0]].any()):
        return distance, primitive, torch.zeros_like(distance)
    # Shadow rays run from the light to what is seen: like camera rays they share an origin.
    light = worlds.shadow_origin[world]
    towards = (origin - light)[:, :, None] + direction * distance[:, None]
    lit = _in_cone(light, towards, *(values[world] for values in bounds))
    blocked, _ = _nearest_solid(worlds, world, light, towards, lit)
    length = (towards * towards).sum(1).sqrt_()
    return distance, primitive, ((1 - blocked) * length > SHADOW_BIAS).float()


def render(
    worlds: Worlds,
    world_from_camera: Tensor,
    intrinsics: Tensor,
    image_hw: tuple[int, int],
    k1: Tensor | None = None,
    rays: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Ray-cast S views of each of B worlds.

    world_from_camera (B, S, 4, 4), intrinsics (B, S, 3, 3) in pixels, k1 (B, S) optional radial distortion. rays:
    (3, H, W) of all views, z = 1, instead of what follows from these; see `lens_rays`. Returns images (B, S, 3, H, W)
    float32 in [0, 1] and z-depth (B, S, H, W) float32, infinite where the sky is seen. Raises GeometryError when the
    shapes do not fit the worlds.
    """
    batch, views = world_from_camera.shape[:2]
    if batch != len(worlds) or intrinsics.shape[:2] != (batch, views):
        raise GeometryError(
            f"render: {len(worlds)} worlds, poses {tuple(world_from_camera.shape)}, intrinsics "
            f"{tuple(intrinsics.shape)}; expected (worlds, views, 4, 4) and (worlds, views, 3, 3)"
        )
    device, frames = worlds.device, batch * views
    pose = world_from_camera.reshape(frames, 4, 4).to(device, torch.float32)
    camera = intrinsics.reshape(frames, 3, 3).to(device, torch.float32)
    if rays is None:
        rays = camera_rays(camera, image_hw, None if k1 is None else k1.reshape(frames).to(device))
    else:
        rays = rays.to(device).expand(frames, -1, -1, -1)
    rays = torch.bmm(pose[:, :3, :3], rays.flatten(2)).view(rays.shape)
    tile_hw = (min(TILE_HW[0], image_hw[0]), min(TILE_HW[1], image_hw[1]))
    direction, grid = _tiles(rays, tile_hw)
    per_frame = grid[0] * grid[1]
    frame = torch.arange(frames, device=device).repeat_interleave(per_frame)
    world, origin = frame // views, pose[frame, :3, 3]
    bounds = worlds.centre[:, SHELL_FACES:], worlds.half.norm(dim=2)[:, SHELL_FACES:]
    visible = _in_cone(origin, direction, *(values[world] for values in bounds))
    table = surface_table(worlds)
    pixel_angle = 1.0 / camera[:, 0, 0]
    tiles, pixels = len(direction), direction.shape[2]
    shade_step = max(1, SHADE_RAYS.get(device.type, SHADE_RAYS_GPU) // pixels)
    hit_step = HIT_TILES.get(device.type, shade_step)
    colour = torch.empty(tiles, 3, pixels, device=device)
    depth = torch.empty(tiles, 1, pixels, device=device)
    for start in range(0, tiles, shade_step):
        group = slice(start, min(tiles, start + shade_step))
        parts = [slice(k, min(k + hit_step, group.stop)) for k in range(group.start, group.stop, hit_step)]
        traced = [_trace(worlds, world[p], origin[p], direction[p], visible[p], bounds) for p in parts]
        distance, primitive, shadow = (torch.cat(values) for values in zip(*traced, strict=True))
        hits = Hits(world[group], primitive, distance, shadow)
        colour[group], sky = shade(worlds, table, hits, origin[group], direction[group], pixel_angle[frame[group]])
        depth[group, 0] = distance.masked_fill_(sky, torch.inf)
    images = _untile(colour, frames, grid, tile_hw, image_hw)
    depths = _untile(depth, frames, grid, tile_hw, image_hw)
    return images.view(batch, views, 3, *image_hw), depths.view(batch, views, *image_hw)
