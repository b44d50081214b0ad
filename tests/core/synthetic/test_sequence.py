"""Sequences and training batches: random access, shapes, reproducibility, honest intrinsics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spark3r_core.errors import GeometryError
from spark3r_core.synthetic.sequence import SyntheticSequence, sample_batch, sample_times


def test_frames_come_in_any_order_and_always_the_same() -> None:
    sequence = SyntheticSequence(3, 12, image_hw=(48, 64))
    late = sequence.frame(9)
    early = sequence.frame(2)
    again = SyntheticSequence(3, 12, image_hw=(48, 64)).frame(9)
    for a, b in zip(late, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(late[0], early[0])
    image, depth, pose, camera = late
    assert (image.shape, image.dtype) == ((48, 64, 3), np.uint8)
    assert (depth.shape, depth.dtype) == ((48, 64), np.float32)
    assert pose.shape == (4, 4)
    assert camera[0, 2] == 32.0
    assert 2 * np.rad2deg(np.arctan(32 / camera[0, 0])) == pytest.approx(62.0)
    assert (depth > 0.05).all()


def test_portrait_frames_measure_the_longer_side() -> None:
    sequence = SyntheticSequence(1, 2, kind="still", image_hw=(64, 36), fov_deg=50.0)
    assert 2 * np.rad2deg(np.arctan(32 / sequence.intrinsics[1, 1])) == pytest.approx(50.0)
    assert sequence.frame(0)[0].shape == (64, 36, 3)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(GeometryError, match="frames=0"):
        SyntheticSequence(1, 0)
    with pytest.raises(GeometryError, match="fov_deg=200"):
        SyntheticSequence(1, 5, fov_deg=200)
    with pytest.raises(IndexError, match="frame 5"):
        SyntheticSequence(1, 5, image_hw=(8, 8)).frame(5)


def test_batches_are_reproducible_and_well_formed() -> None:
    seeds = [1_000_001, 1_000_002, 1_000_003]
    batch = sample_batch(seeds, 4, (48, 64), spacing=(2, 10), revisit_probability=0.3)
    again = sample_batch(seeds, 4, (48, 64), spacing=(2, 10), revisit_probability=0.3)
    assert batch.images.shape == (3, 4, 3, 48, 64)
    assert batch.depth.shape == (3, 4, 48, 64)
    assert batch.world_from_camera.shape == (3, 4, 4, 4)
    assert batch.world_from_camera.dtype == torch.float64
    assert batch.intrinsics.shape == (3, 4, 3, 3)
    assert torch.equal(batch.images, again.images)
    assert torch.equal(batch.depth, again.depth)
    fov = 2 * torch.rad2deg(torch.atan(32 / batch.intrinsics[:, 0, 0, 0]))
    assert ((fov >= 40) & (fov <= 90)).all()
    assert len(set(fov.tolist())) == 3
    assert (batch.depth > 0.03).all()
    moved = batch.to("cpu")
    assert torch.equal(moved.k1, batch.k1)


def test_lenses_distort_mildly_and_not_always() -> None:
    batch = sample_batch(range(1_000_000, 1_000_024), 1, (16, 24), augment=False)
    edge = 12 / batch.intrinsics[:, 0, 0, 0]
    shift = (batch.k1[:, 0] * edge**2).abs()
    assert shift.max() <= 0.02 + 1e-6
    assert 0 < int((shift > 0).sum()) < 20


def test_times_step_within_the_spacing_and_revisit() -> None:
    rng = np.random.default_rng(0)
    steps = np.diff([sample_times(rng, 10, (3.0, 12.0), 0.0) for _ in range(20)], axis=1)
    assert steps.min() >= 3.0 - 1e-9
    assert steps.max() <= 12.0 + 1e-9
    returning = np.diff([sample_times(rng, 10, (3.0, 12.0), 0.5) for _ in range(20)], axis=1)
    assert (returning < 0).any()
