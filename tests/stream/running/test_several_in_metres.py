"""Two cameras in one room, of which one sees a tag: both are in metres, over the wire, in files and as they say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from spark3r_core.geometry import umeyama
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.reader import Recording
from spark3r_stream.running.cameras import cameras_of
from spark3r_stream.running.several import CameraRun, opened_several
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.messages import DepthImage, FrameResult, LengthUnit, MapCorrections, SessionState, Status
from tests.helpers_reprocess import assert_repeated

WORLD = "synthetic:room?seed=4&frames=60&size=320x240&fps=15"
SOURCES = {"a": WORLD, "b": f"{WORLD}&camera=1&tag=0.8&tag_at=10"}
WAIT_S = 120


class Run(NamedTuple):
    """folder: with out/NAME and recordings NAME.mcap. messages: as a subscriber had them, with what they say."""

    folder: Path
    messages: list[tuple[Message, object]]

    def of(self, camera: str, kind: type) -> list:
        return [one for message, one in self.messages if message.envelope.camera == camera and isinstance(one, kind)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """a, whose map is that of all, begins when b has been through the room: so it is joined while it goes on."""
    folder = tmp_path_factory.mktemp("several")
    endpoint, first = f"ipc://{folder}/stream", f"a={SOURCES['a']}"
    config = RunConfig(
        first, (f"b={SOURCES['b']}",), tag="36h11:0.8", publish=endpoint, out=folder / "out", record=folder / "records"
    )
    got: list[tuple[Message, object]] = []
    b_is_through, ready = threading.Event(), threading.Event()

    def follow() -> None:
        with Subscriber(endpoint, timeout_s=WAIT_S) as subscriber:
            for message in subscriber:
                content = decode(message)
                got.append((message, content))
                if message.envelope.camera == "b" and message.envelope.frame_id == 59:
                    b_is_through.set()
                ended = isinstance(content, Status) and content.state in (SessionState.ENDED, SessionState.FAILED)
                if ended and not message.envelope.camera:
                    return

    def on_open(camera: CameraRun, _: object) -> None:
        assert (b_is_through if camera.name == "a" else ready).wait(WAIT_S)

    thread = threading.Thread(target=follow)
    thread.start()
    with opened_several(config, cameras_of(config), on_open=on_open) as several:
        assert several.publisher is not None
        while several.publisher.subscribers < 1:
            assert not ready.wait(0.02)
        ready.set()
        several.wait(threading.Event())
        assert [str(one.error) for one in several.runs] == ["None", "None"]
    thread.join(WAIT_S)
    return Run(folder, got)


def test_the_camera_without_a_tag_is_in_metres_once_it_is_joined_and_not_before(run: Run) -> None:
    frames = run.of("a", FrameResult)
    units = [one.unit for one in frames]
    first = units.index(LengthUnit.METRE)
    assert first > 5, "a metre is not known before the maps are joined"
    assert set(units[first:]) == {LengthUnit.METRE}
    assert {(one.scale_source, one.scale_std) for one in frames[:first]} == {("", 0.0)}
    assert {one.scale_source for one in frames[first:]} == {"tag 36h11:0 of b"}
    assert frames[-1].scale_std > run.of("b", FrameResult)[-1].scale_std, "it knows it by the relation of the maps"


def test_one_list_of_corrections_changes_the_unit(run: Run) -> None:
    lists = run.of("a", MapCorrections)
    units = [{one.unit for one in each.corrections} for each in lists]
    assert all(len(each) == 1 for each in units)
    first = units.index({LengthUnit.METRE})
    assert all(each == {LengthUnit.METRE} for each in units[first:])
    known = {one.submap for each in lists[:first] for one in each.corrections}
    assert known <= {one.submap for one in lists[first].corrections}, "all that it has moves at once"
    assert any("became known, by tag 36h11:0 of b" in one.reason for one in lists[first].corrections)
    contents = [one for message, one in run.messages if message.envelope.camera == "a"]
    metric = next(one for one in contents if isinstance(one, FrameResult) and one.unit is LengthUnit.METRE)
    assert contents.index(lists[first]) < contents.index(metric)


def test_a_submap_that_begins_in_metres_has_them_inside(run: Run) -> None:
    lists = run.of("a", MapCorrections)
    metric = [each for each in lists if each.corrections[0].unit is LengthUnit.METRE]
    before = {one.submap for each in lists if each not in metric for one in each.corrections}
    begun = {one.submap: one.map_from_submap.scale for each in reversed(metric) for one in each.corrections}
    later = [scale for submap, scale in begun.items() if submap not in before]
    assert later
    assert later == pytest.approx([1.0] * len(later), abs=0.1)
    assert min(scale for submap, scale in begun.items() if submap in before) > 1.5, "a unit is two metres and more"


def test_what_a_subscriber_puts_together_is_in_metres(run: Run) -> None:
    scene = SceneMap()
    for message, content in run.messages:
        scene.add(content, message.envelope.camera)  # type: ignore[arg-type]
    for camera in SOURCES:
        truth = SyntheticSource(SOURCES[camera]).ground_truth.world_from_camera[:, :3, 3]
        places = {
            one.submap: one.map_from_submap for each in run.of(camera, MapCorrections) for one in each.corrections
        }
        keyframes = {
            int(content.frame_name.removeprefix("submap_")): message.envelope.frame_id
            for message, content in run.messages
            if isinstance(content, DepthImage) and message.envelope.camera == camera
        }
        found = umeyama(np.stack([places[submap].translation for submap in keyframes]), truth[list(keyframes.values())])
        assert abs(np.log(found.scale)) < 3 * run.of(camera, FrameResult)[-1].scale_std, camera
    assert {each.map_frame for each in run.of("b", MapCorrections)[-1:]} == {"map"}
    assert len(scene.cloud().points) > 1000


def test_odometry_does_not_jump_when_another_camera_says_how_long_a_metre_is(run: Run) -> None:
    frames = [one for one in run.of("a", FrameResult) if one.odom_from_camera is not None]
    steps = np.linalg.norm(np.diff([one.odom_from_camera[:3, 3] for one in frames], axis=0), axis=1)
    at = [one.unit for one in frames].index(LengthUnit.METRE) - 1
    assert steps[at] < 2.0 * steps[at + 1 : at + 4].max(), "the camera moves evenly"
    assert steps[at] > 1.3 * np.median(steps[:at]), "steps are in metres from then on"


def test_status_and_files_say_so(run: Run) -> None:
    for camera in SOURCES:
        status = run.of(camera, Status)[-1]
        assert (status.unit, status.scale_source) == (LengthUnit.METRE, "tag 36h11:0 of b")
        stats = json.loads((run.folder / "out" / camera / "stats.json").read_text())
        assert (stats["map_frame"], stats["unit"]["length"], stats["unit"]["source"]) == (
            "map", "metre", "tag 36h11:0 of b",
        )  # fmt: skip
        file = run.folder / "out" / camera / "trajectory.txt"
        assert file.read_text().splitlines()[1].startswith("# lengths in metres")
        path, truth = read_trajectory(file), SyntheticSource(SOURCES[camera]).ground_truth
        off = abs(np.log(umeyama(path.centres, truth.world_from_camera[: len(path.centres), :3, 3]).scale))
        assert off < max(0.04, 3 * stats["unit"]["relative_std"])


def test_recordings_hold_what_each_knows_by_itself_and_repeat(
    run: Run, tmp_path: Path, spark3r: Callable[..., int]
) -> None:
    for camera, unit in (("a", LengthUnit.MODEL), ("b", LengthUnit.METRE)):
        contents = [decode(message) for message in Recording(run.folder / "records" / f"{camera}.mcap").messages()]
        assert [one.unit for one in contents if isinstance(one, FrameResult)][-1] is unit
        assert [one.unit for one in contents if isinstance(one, Status)][-1] is unit
    assert_repeated(spark3r, run.folder / "records" / "a.mcap", tmp_path)


def test_each_camera_has_sensors_of_its_own_and_what_was_measured_is_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "000000.png").touch()
    depth = f"{tmp_path}/{{name}}"
    config = RunConfig(
        "gate=webcam:0", ("yard=webcam:1",), tag="36h11:0.2", camera_height=0.6, baseline=(0.0, 1.0, 0.5),
        depth_images=depth, gyro="ipc:///run/{name}.gyro",
    )  # fmt: skip
    gate, yard = (one.config for one in cameras_of(config))
    assert (gate.depth_images, yard.depth_images) == (f"{tmp_path}/gate", None)
    assert (gate.gyro, yard.gyro) == ("ipc:///run/gate.gyro", "ipc:///run/yard.gyro")
    assert (gate.camera_height, yard.camera_height, gate.baseline, yard.baseline) == (0.6, None, (0.0, 1.0, 0.5), None)
    assert gate.tag == yard.tag == "36h11:0.2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gyro": "gyro.csv"}, "write {name} where"),
        ({"odometry": "tcp://127.0.0.1:5561"}, "write {name} where"),
        ({"depth_images": "/data/depth"}, "write {name} where"),
        ({"depth_images": "/nowhere/{name}"}, "no camera has such"),
    ],
)
def test_a_sensor_of_nobody_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        cameras_of(RunConfig("gate=webcam:0", ("yard=webcam:1",), **options))  # type: ignore[arg-type]
