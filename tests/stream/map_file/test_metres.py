"""What is known of a map in metres is in its file, and a run that goes on in it is in metres from its first frame."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.cli.maps import map_info
from spark3r_stream.engine.map_gauge import MapGauge
from spark3r_stream.engine.submap import Submap
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.header import checked_header, header_json
from spark3r_stream.map_file.packing import packed
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import Metres
from spark3r_stream.map_file.writing import write_map
from tests.helpers_map import FACTS, IDS, orbit_map

LIES = Sim3(2.5, exp_so3(np.array([0.3, -0.2, 1.0])), np.array([1.0, 2.0, -3.0]))
METRES = Metres(IDS[0], LIES, 0.012, "tag 36h11:3", True)


def test_metres_come_back_and_place_the_map(tmp_path: Path) -> None:
    world, path = orbit_map(), tmp_path / "room.s3rmap"
    other = replace(METRES, keyframe_id=999)
    facts = replace(FACTS, metres=(METRES, other)).about(world)
    assert facts.metres == (METRES,), "those of another map of the run are not this one's"
    write_map(path, world, facts, overwrite=False)
    saved = read_map(path)
    assert saved.metres is not None
    assert (saved.metres.std, saved.metres.source, saved.metres.z_up) == (0.012, "tag 36h11:3", True)
    np.testing.assert_allclose(saved.metres.metres_from_map.matrix, LIES.matrix, atol=1e-9)
    placed = saved.placed()
    for frame_id in IDS:
        expected = LIES @ saved.world.keyframes[frame_id].map_from_keyframe
        np.testing.assert_allclose(placed.keyframes[frame_id].map_from_keyframe.matrix, expected.matrix, atol=1e-9)
    info = map_info(saved)
    assert info["metres"]["metres_per_unit"] == pytest.approx(2.5)
    assert info["path"] == pytest.approx(2.5 * map_info(replace(saved, facts=FACTS))["path"])


def test_a_file_without_them_and_one_that_lies(tmp_path: Path) -> None:
    world = orbit_map()
    _, counts = packed(world)
    fields = json.loads(header_json(world, replace(FACTS, metres=(METRES,)), counts))
    assert checked_header(json.dumps(fields)).facts.metres[0].source == "tag 36h11:3"
    assert checked_header(json.dumps({**fields, "version": "2.0", "metres": None})).facts.metres == ()
    del fields["version"]
    older = {name: value for name, value in fields.items() if name != "metres"}
    assert checked_header(json.dumps({**older, "version": "2.0"})).facts.metres == ()
    for name, value in (("scale", -1.0), ("quat_xyzw", [1, 1, 0, 0]), ("std", "x"), ("z_up", 1), ("translation", [0])):
        wrong = {**fields, "version": "2.0", "metres": {**fields["metres"], name: value}}
        with pytest.raises(ValueError, match=f"of its metres {name}"):
            checked_header(json.dumps(wrong))
    with pytest.raises(MapFileError):
        read_map(tmp_path / "none.s3rmap")


def test_a_run_that_goes_on_is_in_metres_at_once() -> None:
    gauge = MapGauge()
    gauge.go_on_with(METRES)
    submap = Submap(0, IDS[0], 0, 0, 0, None, part_from_submap=Sim3(0.8, np.eye(3), np.array([0.0, 1.0, 0.0])))
    gauge.place(submap)
    assert submap.unit == pytest.approx(2.5 * 0.8)
    point = np.array([0.1, 0.2, 0.3])
    expected = LIES.apply_to_points(submap.part_from_submap.apply_to_points(point))
    np.testing.assert_allclose(submap.map_from_submap.apply_to_points(submap.unit * point), expected, atol=1e-12)
    (kept,) = gauge.metres({IDS[0]: submap})
    assert (kept.keyframe_id, kept.source, kept.z_up) == (IDS[0], "tag 36h11:3", True)
    assert gauge.correction(submap, "x").unit.name == "METRE"
