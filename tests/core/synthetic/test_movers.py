"""Things that walk: they are seen, they move, and they run into nobody."""

from __future__ import annotations

import itertools

import numpy as np

from spark3r_core.synthetic.movers import HALF, LEAST_AWAY, walking
from spark3r_core.synthetic.sequence import SyntheticSequence


def _sequence(movers: int) -> SyntheticSequence:
    return SyntheticSequence(100801, 60, "loop", (36, 48), world_kind="room", augment=False, movers=movers)


def test_movers_stand_before_what_was_there_and_elsewhere_later() -> None:
    empty, moving = _sequence(0), _sequence(2)
    np.testing.assert_array_equal(empty.world_from_camera, moving.world_from_camera)
    hidden = []
    for frame in (0, 20, 40):
        before, after = empty.frame(frame)[1], moving.frame(frame)[1]
        assert (after <= before + 1e-4).all()
        hidden.append(after < before - 1e-3)
    assert max(mask.mean() for mask in hidden) > 0.02
    assert any((a != b).any() for a, b in itertools.pairwise(hidden))


def test_movers_walk_where_there_is_room() -> None:
    sequence = _sequence(0)
    movers = walking(sequence.worlds, 5, sequence.world_from_camera, 2)
    bodies = movers.centre[:, ::2].numpy().astype(np.float64)
    for walk in bodies.transpose(1, 0, 2):
        assert sequence.worlds.distance(0)(walk).min() > HALF[2]
        assert np.linalg.norm(np.diff(walk, axis=0), axis=1).max() < 0.05
        away = np.linalg.norm((walk - sequence.world_from_camera[:, :3, 3])[:, [0, 2]], axis=1)
        assert away.min() > LEAST_AWAY
