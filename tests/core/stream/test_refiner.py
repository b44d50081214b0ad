"""Streams with estimates that jitter: what comes back is steadier, truer, finite and the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from spark3r_core.geometry import se3
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.refiner import PhotometricRefiner
from tests.core.photometric.scene import Array, Room, camera, estimates, jittered, path, step_errors, steps, video

HW = (72, 96)
UNIT = 1.9  # median depth of the first frame


class Stream:
    """One run over a video, `window` frames at a time."""

    def __init__(
        self,
        images: Tensor,
        given: Sequence[FrameEstimate],
        window: int = 4,
        intrinsics: Array | None = None,
        times_s: Sequence[float] | None = None,
    ) -> None:
        refiner = PhotometricRefiner()
        self.frames: list[FrameEstimate] = []
        self.aligned: list[bool] = []
        for i in range(0, len(given), window):
            at = slice(i, i + window)
            times = None if times_s is None else times_s[at]
            refined = refiner.step(images[at], given[at], times, intrinsics)
            self.frames += refined.frames
            self.aligned += refined.aligned
        self.poses = np.stack([frame.world_from_camera for frame in self.frames])
        assert [frame.frame_id for frame in self.frames] == [frame.frame_id for frame in given]
        assert len(self.aligned) == len(given)
        assert all(np.isfinite(frame.depth).all() for frame in self.frames)
        assert np.isfinite(self.poses).all()


def as_poses(frames: Sequence[FrameEstimate]) -> Array:
    return np.stack([frame.world_from_camera for frame in frames])


@pytest.fixture(scope="module")
def walk() -> tuple[Tensor, Array, Array]:
    """Images, depths and poses of forty frames."""
    poses = path(40)
    return *video(Room(), poses, HW, noise=0.01), poses


def test_a_still_camera_stays_still() -> None:
    poses = np.tile(path(1), (24, 1, 1))
    images, depths = video(Room(), poses, HW, noise=0.02)
    given = jittered(estimates(poses, depths, camera(HW)), 0.02, 0.03 * UNIT)
    run = Stream(images, given)
    assert all(run.aligned)
    assert np.rad2deg(se3.relative_angle(run.poses, poses)).max() < 0.15
    assert (np.linalg.norm((run.poses - poses)[:, :3, 3], axis=1) / UNIT).max() < 0.005


@pytest.mark.parametrize("window", [1, 3, 8])
def test_motions_are_truer_than_the_estimates(walk: tuple[Tensor, Array, Array], window: int) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.02, 0.02 * UNIT)
    run = Stream(images, given, window)
    assert all(run.aligned)
    (turn, shift), (turn_given, shift_given) = step_errors(run.poses, poses), step_errors(as_poses(given), poses)
    assert turn < turn_given / 3
    assert shift < shift_given / 3


def test_windows_of_any_size_agree_roughly(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.01, 0.01 * UNIT)[:24]
    runs = [Stream(images, given, window).poses for window in (1, 3, 8)]
    for run in runs[1:]:
        assert np.rad2deg(se3.relative_angle(run, runs[0])).max() < 3
        assert np.linalg.norm((run - runs[0])[:, :3, 3], axis=1).max() < 0.06 * UNIT


def test_the_same_stream_gives_the_same_bytes(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.02, 0.03)[:16]
    first, second = Stream(images, given), Stream(images, given)
    assert first.aligned == second.aligned
    for one, other in zip(first.frames, second.frames, strict=True):
        for name in ("world_from_camera", "depth", "intrinsics"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_what_was_given_is_not_changed(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.02, 0.03)[:9]
    before = [(frame.world_from_camera.copy(), frame.depth.copy(), frame.intrinsics.copy()) for frame in given]
    Stream(images, given)
    for frame, (pose, depth, intrinsics) in zip(given, before, strict=True):
        np.testing.assert_array_equal(frame.world_from_camera, pose)
        np.testing.assert_array_equal(frame.depth, depth)
        np.testing.assert_array_equal(frame.intrinsics, intrinsics)


def test_a_given_camera_is_kept_to_the_last_bit(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    given = [
        replace(frame, intrinsics=camera(HW, 0.8 * (1 + 0.05 * np.sin(frame.frame_id))))
        for frame in jittered(estimates(poses, depths * 1.1, camera(HW)), 0.02, 0.03)
    ]
    for frame in Stream(images, given, intrinsics=camera(HW)).frames:
        np.testing.assert_array_equal(frame.intrinsics, camera(HW))


def test_an_unknown_camera_gets_better_than_the_first_guess(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    rng = np.random.default_rng(0)
    given = [
        replace(frame, intrinsics=camera(HW, 0.8 * float(np.exp(0.06 if i == 0 else rng.normal(0, 0.04)))))
        for i, frame in enumerate(estimates(poses, depths, camera(HW)))
    ]
    found = Stream(images, given).frames[-1].intrinsics
    assert abs(np.log(found[0, 0] / (0.8 * HW[1]))) < 0.045
    assert found[0, 0] == pytest.approx(found[1, 1])
    np.testing.assert_array_equal(found[:2, 2], [HW[1] / 2, HW[0] / 2])


def test_rotations_stay_orthonormal_over_a_long_run() -> None:
    there_and_back = np.abs((np.arange(200) + 20) % 40 - 20)  # each view twenty frames on, and back again
    images, depths = video(Room(), path(21), HW, noise=0.01)
    poses = path(21)[there_and_back]
    given = jittered(estimates(poses, depths[there_and_back], camera(HW)), 0.02, 0.03)
    noisy = [replace(one, world_from_camera=one.world_from_camera.astype(np.float32).astype(float)) for one in given]
    run = Stream(images[there_and_back], noisy, window=8)
    rotations = run.poses[:, :3, :3]
    assert np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)).max() < 1e-9
    assert np.linalg.det(rotations).min() > 0
    assert np.mean(run.aligned) > 0.95


def test_a_change_of_the_networks_unit_is_undone(walk: tuple[Tensor, Array, Array]) -> None:
    images, depths, poses = walk
    given = jittered(estimates(poses, depths, camera(HW)), 0.01, 0.01)
    from_there = slice(20, None)
    for i, frame in enumerate(given[from_there], 20):
        pose = frame.world_from_camera.copy()
        pose[:3, 3] *= 2
        given[i] = replace(frame, world_from_camera=pose, depth=frame.depth * 2)
    run = Stream(images, given)
    ratio = [float(np.median(frame.depth / depth)) for frame, depth in zip(run.frames, depths, strict=True)]
    np.testing.assert_allclose(ratio, 1, atol=0.12)
    length, expected = (np.linalg.norm(steps(p)[from_there, :3, 3], axis=1).sum() for p in (run.poses, poses))
    assert length == pytest.approx(expected, rel=0.2)
    assert steps(run.poses)[19, 0, 3] == pytest.approx(steps(poses)[19, 0, 3], abs=0.02)
