"""A map and its copy in another process: the same after every change, and no keyframe sent twice."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import opened
from spark3r_core.stream.map_budget import without
from spark3r_core.stream.meeting import Relation
from spark3r_stream.errors import MapFileError
from spark3r_stream.fleet.replica import MapChange, Replica, Sent
from spark3r_stream.map_file.joins_file import MAX_FILE_BYTES, read_joins, write_joins
from spark3r_stream.map_file.writing import map_bytes
from tests.helpers_map import FACTS, IDS, orbit_map


def sent(change: MapChange) -> MapChange:
    """As it comes out of another process."""
    found: MapChange = pickle.loads(pickle.dumps(change))
    return found


def passed_on(sender: Sent, replica: Replica, world: KeyframeMap) -> MapChange:
    change = sender.change_to(world, False)
    assert replica.apply(sent(change))
    sender.confirmed(world, change)
    return change


def test_the_copy_is_the_map_after_each_change() -> None:
    sender, replica = Sent(), Replica()
    for count in (1, 2, 4):
        world = orbit_map(IDS[:count])
        passed_on(sender, replica, world)
        assert map_bytes(replica.whole(), FACTS) == map_bytes(world, FACTS)
    moved = world.draft()
    moved.keyframes[8] = moved.keyframes[8].moved(np.diag([1.0, -1.0, -1.0, 1.0]), 2.0)
    change = passed_on(sender, replica, moved)
    assert (set(change.whole), set(change.moved), set(change.seen)) == (set(), {8}, set())
    assert map_bytes(replica.whole(), FACTS) == map_bytes(moved, FACTS)
    thinned = without(moved, [16])
    change = passed_on(sender, replica, thinned)
    assert not change.whole
    assert map_bytes(replica.whole(), FACTS) == map_bytes(thinned, FACTS)
    assert 16 not in replica.world.places.index.summaries
    bent = thinned.draft()
    bent.keyframes[24] = replace(bent.keyframes[24], depth=bent.keyframes[24].depth * 2)
    assert set(passed_on(sender, replica, bent).whole) == {24}
    assert map_bytes(replica.whole(), FACTS) == map_bytes(bent, FACTS)


def test_places_are_known_in_the_copy() -> None:
    sender, replica = Sent(), Replica()
    passed_on(sender, replica, orbit_map())
    index, expected = replica.world.places.index, opened(orbit_map(), is_fixed=False).places.index
    assert set(index.summaries) == set(expected.summaries)


def test_a_change_of_another_map_is_refused_and_the_whole_is_taken() -> None:
    sender, replica = Sent(), Replica()
    world = orbit_map(IDS[:2])
    passed_on(sender, replica, world)
    fresh = Replica()
    assert not fresh.apply(sender.change_to(orbit_map(), False))
    assert not fresh.world.keyframes
    saved = Replica.of(opened(world, is_fixed=False))
    assert map_bytes(saved.whole(), FACTS) == map_bytes(world, FACTS)
    assert not saved.apply(sender.change_to(orbit_map(), False))
    sender.forget()
    passed_on(sender, saved, orbit_map())
    assert map_bytes(saved.whole(), FACTS) == map_bytes(orbit_map(), FACTS)


def test_how_maps_were_joined_is_read_back_by_name(tmp_path: Path) -> None:
    path, names = tmp_path / "joins.json", {0: "gate", 1: "yard", 2: "roof"}
    assert read_joins(path, names) == {}
    lies = Sim3(2.0, np.diag([1.0, -1.0, -1.0]), np.array([1.0, 2.0, 3.0]))
    write_joins(path, {(0, 2): Relation(lies, ((3, 4), (5, 6)))}, names)
    (found,) = read_joins(path, names).values()
    assert np.allclose(found.first_from_second.matrix, lies.matrix)
    assert found.pairs == ((3, 4), (5, 6))
    ((pair, turned),) = read_joins(path, {0: "roof", 1: "gate"}).items()
    assert pair == (0, 1)
    assert np.allclose((turned.first_from_second @ lies).matrix, np.eye(4))
    assert turned.pairs == ((4, 3), (6, 5))
    assert read_joins(path, {0: "roof"}) == {}


def join(first: str = "gate", number: str = "1") -> str:
    one = f'"first": "{first}", "second": "yard", "first_from_second": {np.eye(4).tolist()}, "pairs": [[{number}, 2]]'
    return f'{{"version": 1, "joins": [{{{one}}}]}}'


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"version": 2}', '{"version": 1, "joins": [{"first": "gate"}]}', "[" * 100_000, join("yard"),
     join(number="1e999"), join(number="[]")],
    ids=lambda text: text[:20] + text[-20:],
)  # fmt: skip
def test_a_file_that_says_nothing_of_joins(text: str, tmp_path: Path) -> None:
    path, names = tmp_path / "joins.json", {0: "gate", 1: "yard"}
    path.write_text(join())
    assert list(read_joins(path, names)) == [(0, 1)]
    path.write_text(text)
    with pytest.raises(MapFileError, match="move it away"):
        read_joins(path, names)


def test_a_file_of_joins_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "joins.json"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(MapFileError, match="it is too large"):
        read_joins(path, {})
