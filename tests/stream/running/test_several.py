"""Several cameras in one process: each as if it were alone, together on one endpoint, and independent in their ends."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.alignment import umeyama
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.errors import StreamError
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.running.cameras import cameras_of
from spark3r_stream.running.several import opened_several
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.sources.video import VideoSource
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import FRAME, MAP_CORRECTION, STATUS, TF, Message
from spark3r_stream.wire.messages import FrameResult, MapCorrections, SessionState, Status, Transform
from tests.helpers import spark3r
from tests.helpers_media import moving_images, write_video
from tests.helpers_reprocess import assert_repeated

SMALL = ("--weights", "random", "--size", "96")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return (
        write_video(folder / "a.mp4", moving_images(12, 128, 96)),
        write_video(folder / "b.mp4", moving_images(9, 160, 120)),
    )


def test_each_gives_what_it_gives_alone_and_one_that_fails_ends_alone(
    clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    together, alone, records = tmp_path / "together", tmp_path / "alone", tmp_path / "records"
    sources = [f"left={clips[0]}", f"right={clips[1]}", tmp_path / "nothing.mp4"]
    assert spark3r(monkeypatch, "run", *sources, *SMALL, "--out", together, "--record", records) == 1
    err = capfd.readouterr().err
    assert "spark3r: cam3: " in err
    assert "left: 12 frames reconstructed" in err
    assert "right: 9 frames reconstructed" in err
    assert "ended by an error: cam3" in err
    for name, clip in zip(("left", "right"), clips, strict=True):
        assert spark3r(monkeypatch, "run", clip, *SMALL, "--out", alone / name) == 0
        for file in ("trajectory.txt", "cloud.ply", "intrinsics.json"):
            assert (together / name / file).read_bytes() == (alone / name / file).read_bytes(), f"{name}/{file}"
        assert json.loads((together / name / "stats.json").read_text())["settings"]["source"] == str(clip)
    assert_repeated(lambda *arguments: spark3r(monkeypatch, *arguments), records / "right.mcap", tmp_path)


def followed(endpoint: str, camera: str = "") -> tuple[threading.Thread, list[Message]]:
    """A subscriber in a thread until the session is over."""
    got: list[Message] = []

    def follow() -> None:
        with Subscriber(endpoint, camera=camera, timeout_s=60) as subscriber:
            for message in subscriber:
                got.append(message)
                content = decode(message)
                ended = isinstance(content, Status) and content.state in (SessionState.ENDED, SessionState.FAILED)
                if ended and message.envelope.camera == camera:
                    return

    thread = threading.Thread(target=follow)
    thread.start()
    return thread, got


def test_one_endpoint_has_them_all(clips: tuple[Path, Path], tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/stream"
    config = RunConfig(f"left={clips[0]}", (f"right={clips[1]}",), weights="random", size=96, publish=endpoint)
    every, only = followed(endpoint), followed(endpoint, "right")
    begin = threading.Event()

    def wait(*_: object) -> None:
        begin.wait(60)

    stop = threading.Event()
    with opened_several(config, cameras_of(config), on_open=wait) as several:
        assert several.publisher is not None
        while several.publisher.subscribers < 2:
            assert not stop.wait(0.02)
        begin.set()
        several.wait(stop)
        assert not several.failed
    for thread, _ in (every, only):
        thread.join(60)
    frames = {name: [m for m in every[1] if m.name == f"{FRAME}{name}/"] for name in ("left", "right")}
    assert [m.envelope.frame_id for m in frames["left"]] == list(range(12))
    assert [m.envelope.frame_id for m in frames["right"]] == list(range(9))
    submaps = {
        name: {result.submap for m in got if isinstance(result := decode(m), FrameResult) and result.valid}
        for name, got in frames.items()
    }
    assert {one % 2 for one in submaps["left"]} == {0}
    assert {one % 2 for one in submaps["right"]} == {1}
    transforms = [t for m in every[1] if m.topic == TF and isinstance(t := decode(m), Transform)]
    assert {t.parent for t in transforms if t.child == "left/odom"} == {"map"}
    assert {t.parent for t in transforms if t.child == "right/odom"} == {"right/map"}
    assert any(m.name == f"{MAP_CORRECTION}right/" for m in every[1])
    last = every[1][-1]
    status = decode(last)
    assert (last.name, isinstance(status, Status) and status.state) == (STATUS, SessionState.ENDED)
    assert isinstance(status, Status)
    assert status.frames_in == 21
    assert {m.envelope.camera for m in only[1]} == {"right"}
    assert sum(m.topic == FRAME for m in only[1]) == 9


def test_a_source_that_breaks_in_the_middle_ends_alone(
    clips: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = VideoSource.read

    def breaks(self: VideoSource) -> object:
        frame = whole(self)
        if self.info.size[0] == 160 and frame.frame_id == 4:
            raise StreamError("the disk was pulled out")
        return frame

    monkeypatch.setattr(VideoSource, "read", breaks)
    config = RunConfig(f"left={clips[0]}", (f"right={clips[1]}",), weights="random", size=96)
    with opened_several(config, cameras_of(config)) as several:
        several.wait(threading.Event())
        left, right = several.runs
        assert left.error is None
        assert left.run is not None
        assert left.run.stats.frames_in == 12
        assert str(right.error) == "the disk was pulled out"


def test_all_end_when_they_are_told_to_or_the_mapper_dies() -> None:
    endless = "synthetic:room?frames=100000&size=160x120&fps=15&live=1"
    config = RunConfig(endless, (f"other={endless}&seed=3",), weights="random", size=96)
    for kills in (False, True):
        stop = threading.Event()
        with opened_several(config, cameras_of(config)) as several:
            several.wait_opened(stop)
            assert several.is_live
            if kills:
                (mapper,) = [p for p in multiprocessing.active_children() if p.name == "spark3r-mapper"]
                mapper.kill()
                with pytest.raises(StreamError, match="the mapping process ended"):
                    several.wait(stop)
            else:
                stop.set()
                several.wait(stop)
                assert not several.failed
            assert all(one.is_over for one in several.runs)


def test_names_and_places(tmp_path: Path) -> None:
    config = RunConfig(
        "webcam:0", ("gate=rtsp://a?x=1", "synthetic:room?seed=3"), out=tmp_path / "o", camera=Path("c/{name}.yaml")
    )
    first, gate, third = cameras_of(config)
    assert (first.name, first.config.source) == ("cam1", "webcam:0")
    assert (gate.name, gate.config.source) == ("gate", "rtsp://a?x=1")
    assert (third.name, third.config.source) == ("cam3", "synthetic:room?seed=3")
    assert gate.config.out == tmp_path / "o" / "gate"
    assert gate.config.camera == Path("c/gate.yaml")
    assert gate.config.others == ()
    file = tmp_path / "a=b.mp4"
    file.touch()
    assert cameras_of(RunConfig(str(file), ("webcam:0",)))[0].config.source == str(file)


@pytest.mark.parametrize(
    ("sources", "options", "words"),
    [
        (("a=webcam:0", "a=webcam:1"), {}, "two sources are named a"),
        (("a" * 33 + "=webcam:0", "webcam:1"), {}, "no name of a camera"),
        (("webcam:0",) * 33, {}, "at most 32"),
        (("webcam:0", "webcam:1"), {"map": Path("m.s3rmap")}, "NAME.s3rmap"),
        (("webcam:0",), {"rig": Path("rig.yaml")}, "--rig says where several cameras are"),
        (("webcam:0", "webcam:1"), {"track": "off"}, "--track off is for one source"),
        (("webcam:0", "webcam:1"), {"record": Path("r.mcap")}, "it is a folder"),
    ],
)
def test_what_several_cannot_have(sources: tuple[str, ...], options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        cameras_of(RunConfig(sources[0], sources[1:], **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["reconstruct", "probe"])
def test_other_commands_take_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "o"] if command == "reconstruct" else []
    assert spark3r(monkeypatch, command, "a.mp4", "b.mp4", *out) == 1
    assert f"{command} takes one source" in capfd.readouterr().err


@pytest.mark.slow
def test_two_cameras_from_both_ends_of_a_way_end_in_one_map(tmp_path: Path) -> None:
    """As published over the wire and as files: one frame of reference, off by at most a hundredth of the way."""
    world = "synthetic:room?seed=100702&frames=480&kind=wander&size=320x240"
    uris = {"a": f"{world}&span=0:0.6", "b": f"{world}&span=1:0.4&camera=1"}
    endpoint = f"ipc://{tmp_path}/stream"
    config = RunConfig(f"a={uris['a']}", (f"b={uris['b']}",), out=tmp_path / "out", publish=endpoint)
    thread, got = followed(endpoint)
    with opened_several(config, cameras_of(config)) as several:
        several.wait(threading.Event())
        assert not several.failed
    thread.join(60)
    assert {json.loads((tmp_path / "out" / name / "stats.json").read_text())["map_frame"] for name in uris} == {"map"}
    paths = {name: read_trajectory(tmp_path / "out" / name / "trajectory.txt") for name in uris}
    truths = {name: SyntheticSource(uri).ground_truth for name, uri in uris.items()}
    estimate = np.concatenate([paths[name].centres for name in uris])
    true = np.concatenate([truths[name].world_from_camera[:, :3, 3] for name in uris])
    errors = umeyama(estimate, true).apply_to_points(estimate) - true
    ways = [np.diff(one.world_from_camera[:, :3, 3], axis=0) for one in truths.values()]
    shorter = min(float(np.linalg.norm(way, axis=1).sum()) for way in ways)
    assert np.sqrt(np.square(errors).sum(1).mean()) < 0.01 * shorter
    places = [m for m in got if m.name == f"{MAP_CORRECTION}b/"]
    frames = [content.map_frame for m in places if isinstance(content := decode(m), MapCorrections)]
    assert frames[0] == "b/map"
    assert frames[-1] == "map"
    assert frames == sorted(frames), "joined once, and for good"
