"""Several cameras that go on in a folder of maps, and cameras on a rig that see nothing in common."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.meeting import Relation
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.map_file.joins_file import JOINS_FILE, read_joins, write_joins
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.writing import write_map
from spark3r_stream.running.cameras import cameras_of
from spark3r_stream.running.maps_together import joins_of
from spark3r_stream.running.rig import rig_of
from spark3r_stream.running.several import opened_several
from spark3r_stream.sources.synthetic import SyntheticSource
from tests.helpers import spark3r
from tests.helpers_map import FACTS, orbit_map
from tests.helpers_media import moving_images, write_video

SMALL = ("--weights", "random", "--size", "96")
RIG = """
rig_from_camera:
  front: {translation_m: [0, 0, 0], quat_xyzw: [0, 0, 0, 1]}
  side: {translation_m: [0.2, 0, 0], quat_xyzw: [0, 0.7071067811865476, 0, 0.7071067811865476]}
"""


def test_each_has_a_map_of_its_own_and_goes_on_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clips = [write_video(tmp_path / f"{one}.mp4", moving_images(8, 128, 96)) for one in "ab"]
    sources, maps = [f"left={clips[0]}", f"right={clips[1]}"], tmp_path / "site"
    assert spark3r(monkeypatch, "run", *sources, *SMALL, "--map", maps, "--json") == 0
    assert {one.name for one in maps.iterdir()} >= {"left.s3rmap", "right.s3rmap", JOINS_FILE}
    before = read_map(maps / "left.s3rmap").sha256
    assert spark3r(monkeypatch, "run", *sources, *SMALL, "--map", maps, "--localise") == 1
    assert capfd.readouterr().err.count("this camera was not recognised in the saved map yet") == 2, "noise, too small"
    assert read_map(maps / "left.s3rmap").sha256 == before
    assert spark3r(monkeypatch, "run", *sources, "--size", "96", "--map", maps, "--model", "da3-small", *SMALL[:2]) == 1
    assert "was made with --model bundled" in capfd.readouterr().err
    (maps / JOINS_FILE).write_text("{}")
    assert spark3r(monkeypatch, "run", *sources, *SMALL, "--map", maps) == 1
    assert "does not say how maps are joined" in capfd.readouterr().err


def test_only_maps_that_are_gone_on_in_are_still_joined(tmp_path: Path) -> None:
    config = RunConfig("a=webcam:0", ("b=webcam:1", "c=webcam:2"), map=tmp_path / "site")
    cameras = cameras_of(config)
    relation = Relation(Sim3(2.0), ((1, 2),))
    names = {0: "a", 1: "b", 2: "c"}
    write_joins(tmp_path / "site" / JOINS_FILE, {(0, 1): relation, (0, 2): relation}, names)
    assert joins_of(config, cameras) == {}
    for name in ("a", "c"):
        write_map(tmp_path / "site" / f"{name}.s3rmap", orbit_map(), FACTS, overwrite=False)
    assert list(joins_of(config, cameras)) == [(0, 2)]
    again = RunConfig("a=webcam:0", ("b=webcam:1", "c=webcam:2"), map=tmp_path / "site", overwrite=True)
    assert joins_of(again, cameras_of(again)) == {}


def test_the_names_of_a_rig_are_those_of_sources(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text(RIG)
    config = RunConfig("front=webcam:0", ("side=webcam:1",), rig=file)
    assert rig_of(config, ["front", "side", "door"], lambda *_: None) is not None
    for names in (["front", "cam2"], ["front"]):
        with pytest.raises(ConfigError, match="has front, side, and the sources are named front"):
            rig_of(config, names, lambda *_: None)


@pytest.mark.slow
def test_a_rig_joins_cameras_that_see_nothing_in_common_and_they_go_on(tmp_path: Path) -> None:
    world = "synthetic:room?seed=100702&frames=240&kind=loop&size=320x240"
    uris = {"front": world, "side": f"{world}&camera=1&mount=0.2,0,0,90"}
    file = tmp_path / "rig.yaml"
    file.write_text(RIG)
    sources = [f"{name}={uri}" for name, uri in uris.items()]
    config = RunConfig(sources[0], tuple(sources[1:]), out=tmp_path / "out", map=tmp_path / "site", rig=file)
    with opened_several(config, cameras_of(config)) as several:
        several.wait(threading.Event())
        assert not several.failed
    assert list(read_joins(tmp_path / "site" / JOINS_FILE, {0: "front", 1: "side"})) == [(0, 1)]
    estimate, true = [], []
    for name, uri in uris.items():
        assert json.loads((tmp_path / "out" / name / "stats.json").read_text())["map_frame"] == "map"
        truth = SyntheticSource(uri).ground_truth.world_from_camera[:, :3, 3]
        found = read_trajectory(tmp_path / "out" / name / "trajectory.txt").centres
        assert len(found) == len(truth)
        estimate.append(found)
        true.append(truth)
    both, where = np.concatenate(estimate), np.concatenate(true)
    errors = umeyama(both, where).apply_to_points(both) - where
    length = np.linalg.norm(np.diff(true[0], axis=0), axis=1).sum()
    assert np.sqrt(np.square(errors).sum(1).mean()) < 0.01 * length
