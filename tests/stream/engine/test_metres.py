"""A tag on the wall makes the map metric: one correction changes the unit, and all who listen have the same map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry import umeyama
from spark3r_stream.cli.commands import COMMANDS
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.reader import Recording
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.messages import DepthImage, FrameResult, LengthUnit, MapCorrections, Status, submap_frame
from tests import helpers
from tests.helpers_reprocess import assert_repeated
from tests.helpers_wire import SESSION

SOURCE = "synthetic:room?seed=4&frames=40&size=320x240&fps=15&tag=0.8&tag_at=10"
WAIT_S = 20.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run.mcap` and the result folder `out`."""
    folder = tmp_path_factory.mktemp("metres")
    with pytest.MonkeyPatch.context() as patch:
        options = ("--tag", "36h11:0.8", "--record", folder / "run.mcap", "--out", folder / "out")
        assert helpers.spark3r(patch, "run", SOURCE, *options) == 0
    return folder


def contents(run: Path) -> list[tuple[Message, object]]:
    return [(message, decode(message)) for message in Recording(run / "run.mcap").messages()]


def received(subscriber: Subscriber) -> Message:
    message = subscriber.poll(WAIT_S)
    assert message is not None, "nothing came"
    return message


def test_frames_are_in_metres_from_one_correction_on(run: Path) -> None:
    frames = [one for _, one in contents(run) if isinstance(one, FrameResult)]
    units = [one.unit for one in frames]
    first = units.index(LengthUnit.METRE)
    assert set(units[first:]) == {LengthUnit.METRE}
    metric = frames[first]
    assert metric.scale_source == "tag 36h11:0"
    assert 0 < metric.scale_std <= 0.2
    changes = [
        [one for one in content.corrections if "became known" in one.reason]
        for _, content in contents(run)
        if isinstance(content, MapCorrections)
    ]
    (change,) = [one for one in changes if one]
    known = {one.submap for _, content in contents(run) if isinstance(content, MapCorrections)
             for one in content.corrections if one.unit is LengthUnit.MODEL}  # fmt: skip
    assert known <= {one.submap for one in change}, "every submap that was published in model units moves at once"
    assert {one.unit for one in change} == {LengthUnit.METRE}


def test_odometry_does_not_jump_when_the_unit_changes(run: Path) -> None:
    frames = [one for _, one in contents(run) if isinstance(one, FrameResult)]
    centres = np.stack([one.odom_from_camera[:3, 3] for one in frames if one.odom_from_camera is not None])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    at = [one.unit for one in frames].index(LengthUnit.METRE) - 1
    assert steps[at] < 1.5 * steps[at + 1 : at + 4].max(), "the camera moves evenly"
    assert steps[at] > 1.5 * np.median(steps[:at]), "a unit is two metres and more here: steps grew"
    assert np.linalg.norm(centres[at]) > steps[at], "scaled as a whole, odometry would have jumped: this tests nothing"


def test_results_are_in_metres_and_say_so(run: Path) -> None:
    stats = json.loads((run / "out" / "stats.json").read_text())
    assert stats["unit"]["length"] == "metre"
    assert stats["unit"]["source"] == "tag 36h11:0"
    assert (run / "out" / "trajectory.txt").read_text().splitlines()[1].startswith("# lengths in metres")
    assert b"comment lengths in metres" in (run / "out" / "cloud.ply").read_bytes()[:400]
    path, truth = read_trajectory(run / "out" / "trajectory.txt"), SyntheticSource(SOURCE).ground_truth
    found = umeyama(path.centres, truth.world_from_camera[:, :3, 3])
    off = abs(np.log(found.scale))
    assert off < max(0.15, 3 * stats["unit"]["relative_std"]), "a unit of the model is more than two metres here"


def test_status_says_the_unit(run: Path) -> None:
    status = [one for _, one in contents(run) if isinstance(one, Status)][-1]
    assert (status.unit, status.scale_source) == (LengthUnit.METRE, "tag 36h11:0")


def test_subscribers_have_the_map_of_the_engine_also_who_comes_late(run: Path) -> None:
    """Over real sockets: one who was there from the beginning, and one who joins after the unit changed."""
    messages = [message for message, _ in contents(run)]
    change = next(
        i
        for i, (_, content) in enumerate(contents(run))
        if isinstance(content, MapCorrections) and "became known" in content.corrections[0].reason
    )
    early, late, engine = SceneMap(), SceneMap(), SceneMap()
    for message in messages:
        engine.add(decode(message))
    with (
        Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher,
        Subscriber(publisher.endpoint, timeout_s=WAIT_S) as first,
    ):
        first.wait_connected(WAIT_S)
        with Subscriber(publisher.endpoint, timeout_s=WAIT_S) as second:
            for message in messages[: change + 1]:
                publisher.send([message])
            for _ in messages[: change + 1]:
                early.add(decode(received(first)))
            snapshot = second.join(WAIT_S)
            assert {one.unit for one in snapshot.corrections.values()} == {LengthUnit.METRE}
            late.add(MapCorrections(tuple(snapshot.corrections.values())))
            for cloud in snapshot.clouds.values():
                late.add(cloud)
            for message in messages[change + 1 :]:
                publisher.send([message])
            for _ in messages[change + 1 :]:
                early.add(decode(received(first)))
                late.add(decode(received(second)))
    for one in (early, late):
        np.testing.assert_allclose(np.sort(one.cloud().points, 0), np.sort(engine.cloud().points, 0), atol=1e-5)


def test_it_comes_out_again_byte_by_byte(run: Path, tmp_path: Path, spark3r) -> None:
    assert_repeated(spark3r, run / "run.mcap", tmp_path)


def test_what_makes_no_sense_is_refused(spark3r, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for options, words in (
        (("--tag", "36h11"), "write FAMILY:METRES"),
        (("--tag", "36h11:0.1", "--track", "off"), "metres need keyframes"),
        (("--tag-up", "wall"), "need a tag"),
        (("--baseline", "3", "1", "0.5"), "the earlier one first"),
        (("--camera-height", "-1"), "over the floor"),
        (("--depth-images", tmp_path), "has no depth images"),
        (("--depth-scale", "5000"), "give their folder"),
        (("--depth-offset", "1"), "give their address"),
        (("--depth-images", tmp_path, "--depth-offset", "1"), "is a folder"),
        (("--depth-images", "tcp://nowhere"), "expected tcp://HOST:PORT"),
        (("synthetic:room", "--depth-images", tmp_path), "write {name} where the name of each is to be"),
    ):
        assert spark3r("run", SOURCE, *options) == 1
        assert words in capfd.readouterr().err


def test_the_command_makes_a_tag_that_is_found_and_has_its_size(tmp_path: Path, spark3r) -> None:
    from PIL import Image

    from spark3r_core.metric.tags import TagDetector, TagSpec

    assert "tag" in COMMANDS
    page = tmp_path / "tag.png"
    assert spark3r("tag", page, "--tag", "36h11:0.05:4", "--dpi", 254) == 0
    with Image.open(page) as picture:
        dpi, pixels = picture.info["dpi"][0], np.asarray(picture.convert("RGB"))
    (found,) = TagDetector(TagSpec.parse("36h11:0.05"))(pixels)
    assert found.tag_id == 4
    edge_m = np.linalg.norm(found.corners[1] - found.corners[0]) / dpi * 0.0254
    assert edge_m == pytest.approx(0.05, rel=0.005)
    before = page.read_bytes()
    assert spark3r("tag", page) != 0
    assert page.read_bytes() == before, "a file that is there stays"
    assert spark3r("tag", tmp_path / "tag.pdf") == 0
    assert (tmp_path / "tag.pdf").read_bytes().startswith(b"%PDF")
    assert spark3r("tag", tmp_path / "tag.txt") != 0


def test_depth_images_say_how_long_a_metre_is_and_are_not_needed_again(
    tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    import cv2

    source, folder = "synthetic:room?frames=24&size=160x120&fps=10", tmp_path / "depth"
    folder.mkdir()
    truth = SyntheticSource(source).ground_truth
    for picture in range(4, 24, 2):
        depth = np.nan_to_num(truth.depth(picture), posinf=0)
        assert cv2.imwrite(str(folder / f"{picture:06d}.png"), (1000 * depth).round().astype(np.uint16))
    first = tmp_path / "first.mcap"
    assert spark3r("run", source, "--depth-images", folder, "--record", first, "--out", tmp_path / "out") == 0
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert (stats["unit"]["length"], stats["unit"]["source"]) == ("metre", "depth images")
    scales, depths = {}, {}
    for message in Recording(first).messages():
        content = decode(message)
        if isinstance(content, MapCorrections):
            scales.update((submap_frame(one.submap), one.map_from_submap.scale) for one in content.corrections)
        elif isinstance(content, DepthImage):
            depths[content.frame_name] = (message.envelope.frame_id, content.depth)
    for name, (picture, depth) in depths.items():
        ratio = scales[name] * np.median(depth) / np.median(truth.depth(picture))
        assert ratio == pytest.approx(1.0, abs=0.2), "as good as a small network's depth of two keyframes"
    assert_repeated(spark3r, first, tmp_path)
    capfd.readouterr()
    assert spark3r("run", first, "--depth-images", folder) == 1
    assert "holds what that said" in capfd.readouterr().err
    (folder / "000002.png").write_bytes(b"no image")
    assert spark3r("run", source, "--depth-images", folder) == 1
    assert "expected a PNG of 16 bits" in capfd.readouterr().err


def test_a_distance_between_two_pixels_makes_metres(tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    source, out, first = "synthetic:room?frames=24&size=160x120&fps=10", tmp_path / "out", tmp_path / "first.mcap"
    truth = SyntheticSource(source).ground_truth
    x, y = np.array([25, 135]), np.array([60, 60])
    rays = np.linalg.solve(truth.intrinsics, np.stack([x + 0.5, y + 0.5, [1.0, 1.0]])).T
    metres = float(np.linalg.norm(np.diff(rays * truth.depth(12)[y, x][:, None], axis=0)))
    words = ("12:25,60", "12:135,60", f"{metres:.3f}")
    assert spark3r("run", source, "--distance", *words, "--record", first, "--out", out) == 0
    stats = json.loads((out / "stats.json").read_text())
    assert stats["unit"]["source"] == f"{float(words[2]):g} m from 12:25,60 to 12:135,60"
    assert 0 < stats["unit"]["relative_std"] <= 0.2
    keyframes = {
        message.envelope.frame_id for message in Recording(first).messages() if isinstance(decode(message), DepthImage)
    }
    assert 12 in keyframes, "that picture became one"
    assert_repeated(spark3r, first, tmp_path)
    capfd.readouterr()
    assert spark3r("run", source, "--distance", "0:25,60", "0:160,60", "1") == 1
    assert "0:160,60 of a distance is outside of its picture, 160x120" in capfd.readouterr().err
