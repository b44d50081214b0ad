"""Rendered depth and colour against independent geometry: marching, reprojection, distortion, sky, determinism."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rectification import rectification_maps, rectified_camera
from spark3r_core.synthetic.paths import make_path, poses_from_angles
from spark3r_core.synthetic.patterns import PATTERN_COUNT, TEXELS_PER_PATTERN, pattern_bank
from spark3r_core.synthetic.render import HIT_TILES, SHADE_RAYS, camera_rays, lens_rays, render
from spark3r_core.synthetic.sequence import SyntheticSequence, intrinsics_from_fov
from spark3r_core.synthetic.world import make_worlds

HW = (72, 96)
KINDS = ("room", "corridor", "court")


def _views(seed: int, kind: str, times: list[float], fov: float = 65.0, k1: float | None = None):
    worlds = make_worlds([seed], kinds=[kind])
    poses = make_path("handheld", 0, seed, worlds, 0, times=np.array(times))
    camera = intrinsics_from_fov(fov, HW)
    cameras = torch.from_numpy(np.tile(camera, (1, len(times), 1, 1))).float()
    lens = None if k1 is None else torch.full((1, len(times)), k1)
    images, depth = render(worlds, torch.from_numpy(poses)[None], cameras, HW, lens)
    return worlds, poses, camera, images[0], depth[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_depth_agrees_with_marching_the_signed_distance(kind: str, seed: int) -> None:
    worlds, poses, camera, _, depth = _views(seed, kind, [0.0])
    distance = worlds.distance(0)
    rng = np.random.default_rng(seed)
    for row, column in zip(rng.integers(0, HW[0], 25), rng.integers(0, HW[1], 25), strict=True):
        in_camera = np.linalg.inv(camera) @ np.array([column + 0.5, row + 0.5, 1.0])
        along = distance.march(poses[0, :3, 3], poses[0, :3, :3] @ in_camera)
        expected = along / np.linalg.norm(in_camera)
        found = float(depth[0, row, column])
        # A ray that grazes an edge may hit it in one precision and miss it in the other: compare with neighbours there.
        patch = depth[0, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        if np.isinf(expected):
            assert torch.isinf(patch).any()
        elif found != pytest.approx(expected, rel=1e-3, abs=1e-3):
            assert float(patch.min()) - 1e-2 <= expected <= float(patch.max()) + 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_frames_agree_with_each_other_in_depth_and_colour(kind: str) -> None:
    agreeing, visible, colour_error = 0, 0, []
    for seed in (3, 4, 5):
        _, poses, camera, images, depth = _views(seed, kind, [0.0, 12.0])
        v, u = np.mgrid[: HW[0], : HW[1]] + 0.5
        z = depth[0].double().numpy()
        seen = np.isfinite(z)
        points = np.linalg.inv(camera) @ np.stack([u[seen], v[seen], np.ones(seen.sum())]) * z[seen]
        second_from_first = np.linalg.inv(poses[1]) @ poses[0]
        moved = second_from_first[:3, :3] @ points + second_from_first[:3, 3:]
        pixel = camera @ moved
        x, y = pixel[0] / pixel[2], pixel[1] / pixel[2]
        inside = (moved[2] > 0.05) & (x > 1) & (y > 1) & (x < HW[1] - 1) & (y < HW[0] - 1)
        grid = np.stack([x[inside] / HW[1], y[inside] / HW[0]], -1) * 2 - 1
        grid_t = torch.from_numpy(grid).float()[None, None]
        # Inverse depth is linear on planes, so it may be interpolated.
        inverse = torch.nn.functional.grid_sample((1 / depth[1])[None, None], grid_t, align_corners=False)[0, 0, 0]
        there = 1 / inverse.double().numpy()
        unoccluded = there > moved[2][inside] * 0.95
        agreeing += int((np.abs(there - moved[2][inside]) < 0.01 * moved[2][inside])[unoccluded].sum())
        visible += int(unoccluded.sum())
        there_colour = torch.nn.functional.grid_sample(images[1][None], grid_t, align_corners=False)[0, :, 0]
        here_colour = images[0].numpy()[:, seen][:, inside]
        colour_error.append(np.abs(there_colour.numpy() - here_colour)[:, unoccluded].mean(0))
    assert visible > 0.4 * 3 * HW[0] * HW[1]
    assert agreeing > 0.95 * visible
    assert np.median(np.concatenate(colour_error)) < 0.02


@pytest.mark.parametrize(("seed", "kind"), [(4, "room"), (5, "court")])
def test_shadows_lie_where_the_light_is_hidden(seed: int, kind: str) -> None:
    worlds = make_worlds([seed], kinds=[kind])
    pose = torch.from_numpy(make_path("handheld", 1, seed, worlds, 0))[None]
    camera = intrinsics_from_fov(75, HW)
    cameras = torch.from_numpy(camera).float().expand(1, 1, 3, 3)
    sunny, depth = render(dataclasses.replace(worlds, shadow_depth=torch.zeros(1, 2)), pose, cameras, HW)
    hard, _ = render(dataclasses.replace(worlds, shadow_depth=torch.ones(1, 2)), pose, cameras, HW)
    darker = ((sunny - hard).amax((0, 1, 2)) > 0.01).numpy()
    distance, light = worlds.distance(0), worlds.shadow_origin[0].double().numpy()
    assert 0.01 < darker.mean() < 0.9
    rng, hidden = np.random.default_rng(seed), 0
    for row, column in np.argwhere(darker)[rng.permutation(int(darker.sum()))[:15]]:
        in_camera = np.linalg.inv(camera) @ np.array([column + 0.5, row + 0.5, 1.0]) * float(depth[0, 0, row, column])
        place = pose[0, 0, :3, :3].numpy() @ in_camera + pose[0, 0, :3, 3].numpy()
        # Only inside the room: the distance knows nothing beyond it.
        way = (light - place) * min(1.0, 12.0 / np.linalg.norm(light - place))
        points = place + np.linspace(0.0, 1.0, 1000)[:, None] * way
        hidden += bool(distance(points[points[:, 1] > worlds.room_min[0, 1].item() + 1e-3]).min() < 1e-3)
    assert hidden >= 14


def test_pixel_centres_are_at_half_integers() -> None:
    camera = torch.tensor([[[50.0, 0, 2.0], [0, 40.0, 1.5], [0, 0, 1]]])
    rays = camera_rays(camera, (3, 4))
    assert rays[0, :, 1, 2].tolist() == pytest.approx([0.5 / 50, 0.0, 1.0])
    assert rays[0, :, 0, 0].tolist() == pytest.approx([-1.5 / 50, -1.0 / 40, 1.0])


def test_distorted_rays_project_back_to_their_pixels() -> None:
    camera = torch.from_numpy(intrinsics_from_fov(80, HW)).float()[None]
    for k1 in (-0.08, 0.05):
        rays = camera_rays(camera, HW, torch.tensor([k1]))[0]
        r2 = rays[0] ** 2 + rays[1] ** 2
        u = camera[0, 0, 0] * rays[0] * (1 + k1 * r2) + camera[0, 0, 2]
        expected = torch.arange(HW[1]) + 0.5
        assert torch.allclose(u, expected.expand(*HW), atol=2e-3)


def test_distorted_depth_lies_on_the_same_surfaces() -> None:
    worlds, poses, camera, _, depth = _views(2, "room", [0.0], k1=-0.08)
    rays = camera_rays(torch.from_numpy(camera).float()[None], HW, torch.tensor([-0.08]))[0].double().numpy()
    points = poses[0, :3, :3] @ (rays * depth[0].double().numpy()).reshape(3, -1) + poses[0, :3, 3:]
    assert np.abs(worlds.distance(0)(points.T)).max() < 2e-3


def test_sky_is_infinite_and_only_in_courts() -> None:
    worlds = make_worlds([1, 1], kinds=["court", "room"])
    places = np.stack([worlds.sample_free_point(w, np.random.default_rng(0)) for w in range(2)])
    looking_up = np.full(2, -1.2)
    poses = poses_from_angles(places, np.zeros(2), looking_up, np.zeros(2))[:, None]
    cameras = torch.from_numpy(intrinsics_from_fov(70, HW)).float().expand(2, 1, 3, 3)
    images, depth = render(worlds, torch.from_numpy(poses), cameras, HW)
    assert torch.isinf(depth[0]).float().mean() > 0.3
    assert torch.isfinite(depth[1]).all()
    assert torch.isfinite(images).all()


def test_same_seed_same_bytes_whatever_the_batch_and_tiling() -> None:
    alone = make_worlds([7])
    among = make_worlds([8, 7, 9])
    pose = torch.from_numpy(make_path("robot", 1, 7, alone, 0))[None]
    camera = torch.from_numpy(intrinsics_from_fov(60, (50, 70))).float().expand(1, 1, 3, 3)
    first, depth = render(alone, pose, camera, (50, 70))
    again, depth_again = render(make_worlds([7]), pose, camera, (50, 70))
    assert torch.equal(first, again)
    assert torch.equal(depth, depth_again)
    batched, depth_batched = render(among, pose.expand(3, 1, 4, 4), camera.expand(3, 1, 3, 3), (50, 70))
    assert torch.allclose(batched[1], first[0], atol=1e-4)
    assert torch.allclose(depth_batched[1], depth[0], rtol=1e-5)
    other, _ = render(make_worlds([8]), pose, camera, (50, 70))
    assert not torch.equal(first, other)


def test_many_tiles_at_once_as_on_a_gpu_give_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = make_worlds([1, 2, 3], kinds=KINDS)
    poses = torch.from_numpy(np.stack([make_path("handheld", 2, k, worlds, k, step=9.0) for k in range(3)]))
    camera = torch.from_numpy(intrinsics_from_fov(65, (100, 130))).float().expand(3, 2, 3, 3)
    images, depth = render(worlds, poses, camera, (100, 130))
    monkeypatch.setitem(HIT_TILES, "cpu", 1000)
    monkeypatch.setitem(SHADE_RAYS, "cpu", 1 << 22)
    images_together, depth_together = render(worlds, poses, camera, (100, 130))
    assert torch.equal(torch.isinf(depth), torch.isinf(depth_together))
    # Only rounding may differ, and only there may the edge of a thing move by a pixel.
    finite = torch.isfinite(depth)
    assert torch.isclose(depth, depth_together, rtol=1e-4)[finite].float().mean() > 0.9999
    assert ((images - images_together).abs() > 1e-3).float().mean() < 1e-3


def test_pictures_are_neither_flat_nor_noise() -> None:
    worlds = make_worlds(range(6))
    poses = torch.from_numpy(np.stack([make_path("handheld", 1, k, worlds, k) for k in range(6)]))
    camera = torch.from_numpy(intrinsics_from_fov(65, HW)).float().expand(6, 1, 3, 3)
    images, _ = render(worlds, poses, camera, HW)
    grey = images[:, 0].mean(1)
    assert (grey.flatten(1).std(1) > 0.02).all()
    step = (grey[:, :, 1:] - grey[:, :, :-1]).abs().mean((1, 2))
    shuffled = grey.flatten(1)[:, torch.randperm(HW[0] * HW[1], generator=torch.Generator().manual_seed(0))]
    assert (step < 0.6 * (shuffled[:, 1:] - shuffled[:, :-1]).abs().mean(1)).all()


def test_pattern_banks_have_all_levels_and_differ() -> None:
    first, second = pattern_bank(0), pattern_bank(1)
    assert first.shape == second.shape == (PATTERN_COUNT * TEXELS_PER_PATTERN,)
    assert (first != second).float().mean() > 0.5


def test_shapes_that_do_not_fit_are_refused() -> None:
    worlds = make_worlds([1, 2])
    with pytest.raises(GeometryError, match="2 worlds"):
        render(worlds, torch.eye(4).expand(1, 1, 4, 4), torch.eye(3).expand(1, 1, 3, 3), HW)
    with pytest.raises(GeometryError, match="igloo"):
        make_worlds([1], kinds=["igloo"])
    with pytest.raises(GeometryError, match="at least one"):
        make_worlds([])


@pytest.mark.parametrize(
    "lens",
    [
        ((-0.28, 0.07, 0.0002, 0.00002), False),
        ((0.1, -0.05, 0.001, 0.002, 0.02, 0.01, 0.0, 0.0), False),
        ((0.02, -0.004, 0.001, -0.0002), True),
    ],
)
def test_every_lens_images_the_rays_it_is_rendered_by(lens: tuple[tuple[float, ...], bool]) -> None:
    camera = Intrinsics(60.0, 60.0, 48.5, 35.0, HW[1], HW[0], *lens)
    rays = lens_rays(camera).double().numpy()
    u, v = np.meshgrid(np.arange(HW[1]) + 0.5, np.arange(HW[0]) + 0.5)
    np.testing.assert_allclose(camera.project(rays.transpose(1, 2, 0)), np.stack([u, v], -1), atol=1e-4)


def test_a_lens_shows_the_same_world_as_its_pinhole() -> None:
    """The rectified picture of a distorted view is the view of the rectified camera, but for the resampling."""
    optics = {"image_hw": (120, 160), "augment": False, "world_kind": "room"}
    seen = SyntheticSequence(3, 1, fov_deg=75, lens=(0.02, -0.004, 0.001, -0.0002), fisheye=True, **optics)
    pinhole = rectified_camera(seen.camera)
    twin = SyntheticSequence(3, 1, fov_deg=np.degrees(2 * np.arctan(80 / pinhole.fx)), **optics)
    maps = rectification_maps(seen.camera, pinhole)
    rectified, expected = cv2.remap(seen.frame(0)[0], *maps, cv2.INTER_LINEAR), twin.frame(0)[0]
    difference = np.abs(rectified.astype(float) - expected)
    assert np.median(difference) < 2
    assert difference.mean() < 6
    assert np.abs(seen.frame(0)[0].astype(float) - expected).mean() > 2 * difference.mean()


def test_a_lens_that_sees_behind_itself_is_refused() -> None:
    with pytest.raises(GeometryError, match="sees nothing ahead of it"):
        lens_rays(Intrinsics(20.0, 20.0, 48, 36, HW[1], HW[0], (0.0,) * 4, True))
