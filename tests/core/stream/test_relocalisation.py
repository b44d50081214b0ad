"""A lost frame through the mapper: mapped where it was taken if it is recognised, and without a trace if not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream.mapper import Mapper
from spark3r_core.stream.relocalisation import TOO_LITTLE
from tests.core.stream import orbit
from tests.core.stream.test_mapper import follow, memory_of, new_mapper, request, world_of

SEEN, LOST = (0, 8, 16), 24


def lost(mapper: Mapper, picture: np.ndarray | None = None):
    asked = replace(request(mapper, LOST, None), lost=True, odom_from_camera=np.eye(4))
    return asked if picture is None else replace(asked, picture=picture, pyramid=grey_levels(picture))


def test_a_lost_frame_is_mapped_where_it_was_taken() -> None:
    mapper = new_mapper()
    follow(mapper, SEEN)
    update = mapper.map(lost(mapper))
    assert update.keyframe is not None, update.failure
    assert update.found_by in SEEN
    assert update.reference is not None
    first, own = (mapper.world.keyframes[one].world_from_camera for one in (SEEN[0], LOST))
    true = se3.compose(se3.invert(orbit.pose(SEEN[0])), orbit.pose(LOST))
    found = se3.compose(se3.invert(first), own)
    assert np.degrees(se3.relative_angle(found, true)) < 1.5
    assert np.linalg.norm(found[:3, 3] - true[:3, 3]) < 0.1 * np.linalg.norm(true[:3, 3])


def test_a_frame_that_is_not_recognised_leaves_no_trace() -> None:
    mapper = new_mapper()
    follow(mapper, SEEN)
    world, memory = world_of(mapper), memory_of(mapper)
    height, width = orbit.HW
    rng = np.random.default_rng(0)
    elsewhere = np.kron(rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3)), np.ones((8, 8, 1)))
    dark = np.zeros((height, width, 3), np.uint8)
    for picture, why in ((elsewhere[:height, :width].astype(np.uint8), "like it"), (dark, TOO_LITTLE)):
        update = mapper.map(lost(mapper, picture))
        assert update.keyframe is None
        assert why in update.failure or "matches agree" in update.failure
        assert update.moved == {}
    assert world_of(mapper) == world
    assert memory_of(mapper) == memory


def test_what_the_network_does_not_confirm_leaves_no_trace(monkeypatch) -> None:
    """Features say where it is, and its depth says otherwise."""
    mapper = new_mapper()
    follow(mapper, SEEN)
    world, memory = world_of(mapper), memory_of(mapper)
    monkeypatch.setattr("spark3r_core.stream.relocalisation.verify", lambda *_: "the two ways differ")
    update = mapper.map(lost(mapper))
    assert update.keyframe is None
    assert "does not confirm" in update.failure
    assert world_of(mapper) == world
    assert memory_of(mapper) == memory


def test_without_places_nothing_is_recognised() -> None:
    mapper = new_mapper(closes_loops=False)
    follow(mapper, SEEN)
    assert mapper.map(lost(mapper)).failure == "places are not recognised"
