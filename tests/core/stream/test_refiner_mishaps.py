"""Streams in which frames fail, go dark, are cut, or hold numbers that are none: nothing raises, nothing is made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.geometry import se3
from spark3r_core.stream.refiner import PhotometricRefiner
from tests.core.photometric.scene import Array, Room, camera, estimates, jittered, path, step_errors, steps, video
from tests.core.stream.test_refiner import HW, UNIT, Stream, as_poses


@pytest.fixture(scope="module")
def walk() -> tuple[Tensor, Array, Array]:
    """Images, depths and poses of 24 frames."""
    poses = path(24)
    return *video(Room(), poses, HW, noise=0.01), poses


def noise(sigma: float, count: int) -> Tensor:
    grey = 0.1 + sigma * torch.randn(count, 1, *HW, generator=torch.Generator().manual_seed(0))
    return grey.clamp(0, 1).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("failed", [(0,), (0, 1, 2, 3, 4), (5,), (8, 9, 10, 11), (23,)])
def test_failed_frames_pass_through_and_the_next_are_refined(
    walk: tuple[Tensor, Array, Array], failed: tuple[int, ...]
) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.02, 0.02 * UNIT)
    first = next(i for i in range(24) if i not in failed)
    given[first] = replace(given[first], world_from_camera=poses[first])
    for i in failed:
        nothing = np.full((4, 4), np.nan)
        given[i] = replace(given[i], world_from_camera=nothing, failure="the network's pose is not finite")
    refiner, frames, aligned = PhotometricRefiner(), [], []
    for i in range(0, 24, 4):
        refined = refiner.step(images[i : i + 4], given[i : i + 4], np.arange(i, i + 4) / 30)
        frames += refined.frames
        aligned += refined.aligned
    assert [i for i, good in enumerate(aligned) if not good] == list(failed)
    for i in failed:
        assert frames[i] is given[i]
    kept = [i for i in range(24) if i not in failed]
    found, estimated = (as_poses([which[i] for i in kept]) for which in (frames, given))
    (turn, shift), (turn_given, shift_given) = (step_errors(p, poses[kept]) for p in (found, estimated))
    assert turn < turn_given / 3
    assert shift < shift_given / 3


def test_a_step_of_failed_frames_only_and_one_of_none() -> None:
    poses = path(2)
    images, depths = video(Room(), poses, HW)
    given = [replace(one, failure="broken") for one in estimates(poses, depths, camera(HW))]
    refiner = PhotometricRefiner()
    refined = refiner.step(images, given)
    assert refined.frames == given
    assert refined.aligned == [False, False]
    assert refiner.step(images[:0], []).frames == []


@pytest.mark.parametrize(("level", "window"), [(0.0, 1), (0.4, 4), (1.0, 4)])
def test_blank_frames_follow_the_network(walk: tuple[Tensor, Array, Array], level: float, window: int) -> None:
    images, depths, poses = walk
    images = images.clone()
    images[8:16] = level
    given = jittered(estimates(poses, depths, camera(HW)), 0.005, 0.005)
    run = Stream(images, given, window)
    assert not any(run.aligned[8:16])
    assert all(run.aligned[:8])
    assert all(run.aligned[20:])
    np.testing.assert_allclose(steps(run.poses)[8:15, :3, :3], steps(as_poses(given))[8:15, :3, :3], atol=1e-9)
    moved, by_network = (steps(p)[8:15, :3, 3] for p in (run.poses, as_poses(given)))
    np.testing.assert_allclose(moved, by_network, rtol=0.1, atol=1e-3)  # in the map's unit


@pytest.mark.parametrize("window", [1, 4])
def test_a_stream_that_begins_in_the_dark(walk: tuple[Tensor, Array, Array], window: int) -> None:
    images, depths, poses = walk
    images = images.clone()
    images[:6] = 0
    given = jittered(estimates(poses, depths, camera(HW)), 0.01, 0.01)
    run = Stream(images, given, window)
    assert run.aligned[:6] == [True] + [False] * 5  # the first frame of a map needs no confirmation
    np.testing.assert_allclose(steps(run.poses)[:5], steps(as_poses(given))[:5], atol=1e-6)
    assert all(run.aligned[12:])


@pytest.mark.parametrize("sigma", [0.005, 0.02])
def test_noise_is_no_confirmation(walk: tuple[Tensor, Array, Array], sigma: float) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.01, 0.01)
    assert not any(Stream(noise(sigma, 24), given).aligned[1:])
    covered = torch.cat([images[:12], noise(sigma, 12)])
    run = Stream(covered, given)
    assert run.aligned == [True] * 12 + [False] * 12


def test_a_cut_is_noticed_and_got_over(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    other, other_depths = video(Room(seed=5, box=False), poses, HW, noise=0.01)
    given = estimates(poses, np.concatenate([depths[:10], other_depths[10:]]), camera(HW))
    run = Stream(torch.cat([images[:10], other[10:]]), given)
    assert all(run.aligned[:10])
    assert not run.aligned[10]
    assert all(run.aligned[16:])
    turn, shift = step_errors(run.poses[16:], poses[16:])
    assert turn < 0.01
    assert shift < 0.01 * UNIT


def test_a_cut_teaches_nothing_of_the_focal_length(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    other, _ = video(Room(seed=5), poses, HW)
    refiner = PhotometricRefiner()
    given = estimates(poses, depths, camera(HW))
    refiner.step(images[:1], given[:1])
    before = refiner._focal_prior
    refiner.step(other[1:5], given[1:5])
    assert refiner.keyframe is not None
    assert not np.allclose(refiner.keyframe.world_from_camera, poses[0])  # it was replaced
    assert refiner._focal_prior == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_depth_with_holes_does_not_poison_the_scale(walk: tuple[Tensor, Array, Array], value: float) -> None:
    images, depths, poses = walk
    holed = depths.copy()
    holed[:, :20, :40] = value
    refiner, found = PhotometricRefiner(), []
    given = estimates(poses, holed, camera(HW))
    for i in range(0, 24, 4):
        refined = refiner.step(images[i : i + 4], given[i : i + 4])
        found += refined.frames
        assert all(refined.aligned)
    assert np.rad2deg(se3.relative_angle(as_poses(found), poses)).max() < 2
    ratio = [float(np.median((one.depth / depth)[20:])) for one, depth in zip(found, depths, strict=True)]
    np.testing.assert_allclose(ratio, 1, atol=0.1)


@pytest.mark.parametrize("hw", [(73, 97), (97, 73), (14, 14), (7, 400), (3, 3), (1, 1)])
def test_odd_and_tiny_images(hw: tuple[int, int]) -> None:
    poses = path(9)
    images, depths = video(Room(), poses, hw)
    given = jittered(estimates(poses, depths, camera(hw)), 0.01, 0.01)
    run = Stream(images, given)
    assert run.frames[-1].depth.shape == hw
    assert se3.is_se3(run.poses, 1e-9)
    assert all(run.aligned) or min(hw) < 14


def test_clocks_that_stand_jump_or_run_backwards(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.01, 0.01)
    stamps = np.arange(24) / 30
    for times in (np.zeros(24), -stamps, stamps + 100 * (np.arange(24) > 9), stamps - 50 * (np.arange(24) > 9)):
        run = Stream(images, given, times_s=list(times))
        assert all(run.aligned)
        assert step_errors(run.poses, poses)[0] < step_errors(as_poses(given), poses)[0]
