"""Reduction is plug-in: every family, from its tiny reference instance, with no line of code for any of them."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.attention.plan import Dense
from spark3r_core.offline.reconstruct import Reconstruction, reconstruct, reconstruct_with_plan
from spark3r_core.tokens import Reduction
from tests.core.models.released import tiny
from tools.reduction_baselines import NoGlobalAttention, UniformMerging

FAMILIES = ("vggt", "pi3", "pi3x", "vggt_omega")


def same(a: Reconstruction, b: Reconstruction) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("world_from_camera", "depth"))


@pytest.mark.parametrize("family", FAMILIES)
def test_factor_one_is_dense_bit_for_bit(family):
    model, fixture = tiny(family)
    images = fixture.images[0]
    assert same(reconstruct(model, images, Reduction.dense()), reconstruct_with_plan(model, images, Dense()))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_plan_runs_and_takes_effect(family):
    model, fixture = tiny(family)
    images = fixture.images[0].repeat(2, 1, 1, 1)
    dense = reconstruct(model, images, Reduction.dense())
    results = [
        reconstruct(model, images, Reduction.fixed(3, 2)),
        reconstruct(model, images, Reduction.fixed(1, 3).with_(kv_mode="merge")),
        reconstruct_with_plan(model, images, UniformMerging()),
        reconstruct_with_plan(model, images, NoGlobalAttention()),
    ]
    for result in results:
        assert np.isfinite(result.depth).all()
        assert np.isfinite(result.world_from_camera).all()
        assert not same(result, dense)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_frame_needs_no_company(family):
    """With a single frame every stride keeps it, so pruning changes nothing."""
    model, fixture = tiny(family)
    frame = fixture.images[0, :1]
    assert same(reconstruct(model, frame, Reduction.fixed(1, 50)), reconstruct(model, frame, Reduction.dense()))
