"""A corridor of equal doors, and a walk along it."""

from __future__ import annotations

import numpy as np

from spark3r_core.synthetic.doors import GAP, doors_walk
from spark3r_core.synthetic.paths import CLEARANCE, poses_from_angles
from spark3r_core.synthetic.sequence import SyntheticSequence


def test_one_door_looks_like_the_next_but_for_the_light() -> None:
    sequence = SyntheticSequence(2, 2, "still", (48, 64), world_kind="doors", augment=False)
    low, high = sequence.worlds.bounds[0].double().numpy()
    position, _ = doors_walk(low, high, np.linspace(0, 1, 50))
    assert sequence.worlds.distance(0)(position).min() >= CLEARANCE
    side = np.full(2, np.pi / 2)
    poses = poses_from_angles(np.stack([position[10]] * 2), side, np.zeros(2), np.zeros(2))
    poses[1, 2, 3] += GAP
    sequence.world_from_camera = poses
    first, second = (sequence.frame(i)[1] for i in (0, 1))
    np.testing.assert_allclose(first, second, rtol=1e-3)
    poses[1, 2, 3] -= GAP / 2
    sequence.world_from_camera = poses
    assert np.abs(sequence.frame(1)[1] - first).max() > 0.01
