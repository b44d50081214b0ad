"""Rooms with poor textures: made from their seed alone, and poorer than others."""

from __future__ import annotations

import cv2
import numpy as np

from spark3r_core.synthetic.layout import KINDS
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_core.synthetic.world import DRAWN_KINDS, make_worlds


def _corners(seed: int, world: str) -> int:
    sequence = SyntheticSequence(seed, 1, "still", (240, 320), augment=False, world_kind=world)
    grey = cv2.cvtColor(sequence.frame(0)[0], cv2.COLOR_RGB2GRAY)
    return int((cv2.cornerMinEigenVal(grey, 3) > 1e-3).sum())


def test_a_plain_room_is_made_from_its_seed_alone() -> None:
    first, again = (SyntheticSequence(5, 4, "wall_start", (48, 64), world_kind="plain_room") for _ in range(2))
    np.testing.assert_array_equal(first.world_from_camera, again.world_from_camera)
    np.testing.assert_array_equal(first.frame(3)[0], again.frame(3)[0])


def test_plain_rooms_have_few_corners() -> None:
    plain = np.median([_corners(seed, "plain_room") for seed in range(6)])
    furnished = np.median([_corners(seed, "room") for seed in range(6)])
    assert 3 * plain < furnished


def test_seeds_draw_the_kinds_that_they_always_drew() -> None:
    """Training worlds are drawn by seed: a new kind must not change what a seed gives."""
    assert set(DRAWN_KINDS) == set(KINDS) - {"plain_room", "twin_rooms", "doors", "street", "terrace"}
    assert make_worlds(range(8)).kinds == tuple(
        str(np.random.default_rng([11, seed]).choice(["room", "corridor", "court"], p=[0.55, 0.2, 0.25]))
        for seed in range(8)
    )
