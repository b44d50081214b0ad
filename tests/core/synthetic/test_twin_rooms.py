"""Two rooms that are equal, and a walk through both of them that touches nothing."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.synthetic.paths import CLEARANCE, make_path
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_core.synthetic.world import make_worlds

SEEDS = (0, 1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_walk_leads_through_both_rooms_and_touches_nothing(seed: int) -> None:
    worlds = make_worlds([seed], kinds=["twin_rooms"])
    poses = make_path("twin_rooms", 400, seed, worlds, 0)
    assert worlds.distance(0)(poses[:, :3, 3]).min() >= CLEARANCE
    assert poses[0, 0, 3] < -1 < 1 < poses[-1, 0, 3]


def test_the_rooms_have_the_same_depth_from_the_same_place() -> None:
    sequence = SyntheticSequence(1, 2, "twin_rooms", (48, 64), world_kind="twin_rooms", augment=False)
    low, high = sequence.worlds.bounds[0].numpy()
    poses = np.stack([sequence.world_from_camera[0]] * 2)
    poses[1, 0, 3] += (high[0] - low[0]) / 2
    sequence.world_from_camera = poses
    first, second = (sequence.frame(i)[1] for i in (0, 1))
    assert np.mean(np.abs(first - second) < 1e-3 * first) > 0.98


def test_the_walk_needs_its_world() -> None:
    with pytest.raises(GeometryError, match="that world only"):
        make_path("twin_rooms", 10, 1, make_worlds([1], kinds=["room"]), 0)
