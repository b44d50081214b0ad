"""`spark3r run FILE.mcap`: the payloads of a recorded run come out again byte by byte, or a refusal says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType
from PIL import Image

from spark3r_stream.config import NO_CAMERA, ConfigError, RunConfig
from spark3r_stream.errors import RecordingError
from spark3r_stream.proto import recording_pb2, wire_pb2
from spark3r_stream.recording.comparison import TIMINGS, without_timings
from spark3r_stream.recording.digest import DIGEST
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.running.build import build_reconstructor
from spark3r_stream.running.rerun import check_weights, recorded_camera, recorded_config, recorded_new_frames
from spark3r_stream.wire import envelope as wire
from tests.helpers_media import moving_images, write_video
from tests.helpers_recording import rewrite
from tests.helpers_reprocess import assert_repeated, payloads
from tests.helpers_rtsp import RtspServer

SMALL = ["--weights", "random", "--size", "96", "--track", "off"]


def test_a_video_comes_out_again_byte_by_byte(tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    video, first = write_video(tmp_path / "clip.mp4", moving_images(10, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first, "--memory", "3MiB", "--window", "3") == 0
    video.unlink()  # the recording is all that is needed
    stats = assert_repeated(spark3r, first, tmp_path)
    assert stats["frames"] == {"in": 10, "processed": 10, "failed": 0, "dropped": {}}
    assert stats["source"]["kind"] == "recording"
    assert (stats["settings"]["memory"], stats["settings"]["window"]) == ("3MiB", 3)
    compared = len(payloads(first))
    assert 30 <= compared <= 40  # random weights lose track, and frames off the map send no cloud
    assert f"all {compared} messages are equal to the recorded ones, byte by byte" in capfd.readouterr().err
    assert payloads(tmp_path / "again.mcap")
    assert spark3r("run", tmp_path / "again.mcap") == 0, "a repeated run is a recording like any other"
    assert f"all {compared} messages are equal" in capfd.readouterr().err


@pytest.mark.parametrize(("fill", "eviction"), [("causal", "time"), ("support", "views"), ("consolidate", "views")])
def test_the_memory_is_filled_and_emptied_as_it_was(tmp_path: Path, spark3r, fill: str, eviction: str) -> None:
    video, first = write_video(tmp_path / "clip.mp4", moving_images(16, 128, 96)), tmp_path / "first.mcap"
    memory = ("--fill", fill, "--eviction", eviction, "--memory", "3MiB")
    assert spark3r("run", video, *SMALL, "--record", first, *memory, "--window", "2") == 0
    stats = assert_repeated(spark3r, first, tmp_path)
    assert (stats["settings"]["fill"], stats["settings"]["eviction"]) == (fill, eviction)
    decisions = RecordedRun.load(first).decisions
    assert any(window.evicted_frame_ids for window in decisions), "the memory was full"
    assert any(window.support_frame_ids for window in decisions) == (fill == "support")


def test_slots_for_new_frames_are_those_that_were_reserved(tmp_path: Path, spark3r) -> None:
    """A file has windows of four, what may be live up to eight; a run that is repeated has what the recording says."""
    video = write_video(tmp_path / "clip.mp4", moving_images(9, 128, 96))
    for options, slots in (((), 4), (("--pace", "realtime"), 8), (("--window", "3"), 3)):
        first = tmp_path / f"{slots}.mcap"
        assert spark3r("run", video, *SMALL, "--record", first, *options) == 0
        run = RecordedRun.load(first)
        assert recorded_new_frames(run) == slots
        assert_repeated(spark3r, first, tmp_path)
        assert recorded_new_frames(RecordedRun.load(tmp_path / "again.mcap")) == slots
    run.recording.metadata["max_new_frames"] = ""
    with pytest.raises(RecordingError, match="does not say how many new frames"):
        recorded_new_frames(run)


def test_only_the_timings_are_left_out_of_the_comparison() -> None:
    result = wire_pb2.FrameResult(frame_id=7, published_ns=1, model_ms=2.0, latency_ms=3.0, confidence=0.5)
    cleared = wire_pb2.FrameResult.FromString(without_timings(wire.FRAME, result.SerializeToString()))
    changed = {field.name for field, _ in result.ListFields()} - {field.name for field, _ in cleared.ListFields()}
    assert changed == set(TIMINGS)
    assert without_timings(wire.DEPTH, b"as it is") == b"as it is"


def test_a_folder_of_images_with_a_given_camera(tmp_path: Path, spark3r) -> None:
    folder, first = tmp_path / "images", tmp_path / "first.mcap"
    folder.mkdir()
    for i, image in enumerate(moving_images(6, 120, 90)):
        Image.fromarray(image).save(folder / f"{i}.{'png' if i % 2 else 'jpg'}")
    (folder / "2b.png").write_bytes(b"broken")
    camera = tmp_path / "camera.json"
    lens = {"width": 120, "height": 90, "fx": 100, "fy": 100, "cx": 61, "cy": 44, "distortion": [0.1, 0, 0, 0]}
    lens["distortion_model"] = "fisheye"
    camera.write_text(json.dumps(lens))
    assert spark3r("run", f"{folder}/", *SMALL, "--record", first, "--camera", camera) == 0
    camera.write_text(json.dumps({**lens, "fx": 101}))
    with pytest.raises(ConfigError, match="is not the camera"):
        recorded_config(RunConfig(source=str(first), intrinsics=camera), RecordedRun.load(first))
    with pytest.raises(ConfigError, match="--camera none is not the camera"):
        recorded_config(RunConfig(source=str(first), camera=NO_CAMERA), RecordedRun.load(first))
    camera.unlink()
    stats = assert_repeated(spark3r, first, tmp_path)
    assert stats["frames"]["dropped"] == {"decode_error": 1}
    found = recorded_camera(RecordedRun.load(tmp_path / "again.mcap"))
    assert found is not None
    assert (found.fx, found.distortion, found.fisheye) == (100.0, (0.1, 0.0, 0.0, 0.0), True)


def test_a_synthetic_source_is_rendered_again(tmp_path: Path, spark3r) -> None:
    """Live: windows and losses depend on the timing of the first run, and are those of the first run again."""
    first = tmp_path / "first.mcap"
    assert spark3r("run", "synthetic:room?frames=30&size=64x48&fps=200&live=1", *SMALL, "--record", first) == 0
    stats = assert_repeated(spark3r, first, tmp_path)
    assert stats["frames"]["in"] + stats["frames"]["dropped"].get("superseded", 0) <= 30


def test_a_video_played_like_a_camera(tmp_path: Path, spark3r) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_images(40, 160, 120), fps=1000)
    first = tmp_path / "first.mcap"
    options = ["--weights", "random", "--size", "144", "--track", "off", "--pace", "realtime"]
    assert spark3r("run", video, *options, "--record", first) == 0
    run = RecordedRun.load(first)
    assert run.frame_count < 40, "faster than the network: frames were superseded"
    stats = assert_repeated(spark3r, first, tmp_path)
    assert stats["frames"]["dropped"]["superseded"] > 0
    assert max(len(window.new_frames) for window in run.decisions) > 1


@pytest.mark.rtsp
def test_rtsp_with_losses_and_credentials(tmp_path: Path, spark3r) -> None:
    first = tmp_path / "first.mcap"
    with RtspServer(fps=200) as server:
        url = server.url("secret", f"{server.USER}:{server.PASSWORD}@")
        options = ["--weights", "random", "--size", "192", "--track", "off", "--max-frames", "20"]
        assert spark3r("run", url, *options, "--record", first) == 0
    run = RecordedRun.load(first)
    lost = sum(drop.count for window in run.decisions for drop in window.drops if drop.cause != "decode_error")
    assert lost > 0, "200 frames a second are too many for this size"
    assert len({len(window.new_frames) for window in run.decisions}) > 1
    stats = assert_repeated(spark3r, first, tmp_path)
    assert stats["frames"]["in"] == 20
    for path in (first, tmp_path / "again.mcap"):
        assert no_secret_in(path, [server.PASSWORD, server.USER])
    assert run.source_id == f"rtsp://***@127.0.0.1:{server.port}/secret"
    assert server.PASSWORD not in (tmp_path / "again" / "stats.json").read_text()


def no_secret_in(path: Path, secrets: list[str]) -> bool:
    """Looks at every record, unpacked."""
    with path.open("rb") as file:
        reader = make_reader(file)
        texts = [message.data for _, _, message in reader.iter_messages()]
        texts += [json.dumps(record.metadata).encode() for record in reader.iter_metadata()]
    assert len(texts) > 100
    # a name of three letters may stand in compressed video by chance; hardly with a colon behind it
    return not any(secrets[0].encode() in text or f"{secrets[1]}:".encode() in text for text in texts)


def test_the_first_frames_alone(tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    """Windows stay whole: half a window would give other numbers."""
    video, first = write_video(tmp_path / "clip.mp4", moving_images(9, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first, "--window", "3") == 0
    assert spark3r("run", first, "--max-frames", "4", "--record", tmp_path / "part.mcap") == 0
    assert "all 24 messages are equal" in capfd.readouterr().err
    assert payloads(tmp_path / "part.mcap") == payloads(first)[:24]


def test_a_recording_cut_at_its_end_is_repeated_up_to_the_cut(
    tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    video, first = write_video(tmp_path / "clip.mp4", moving_images(9, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first) == 0
    first.write_bytes(first.read_bytes()[:-20])  # no index, no end
    assert spark3r("run", first) == 0
    told = capfd.readouterr().err
    assert "is not complete" in told
    assert "all 36 messages are equal" in told


def test_options_that_contradict_the_recording_are_refused(
    tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    video, first = write_video(tmp_path / "clip.mp4", moving_images(4, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first, "--memory", "64MiB", "--dtype", "float32") == 0
    capfd.readouterr()
    cases = [
        (["--size", "128"], "--size 128, but", "made with 96"),
        (["--track", "off", "--window", "2"], "--window 2, but", "made with auto"),
        (["--memory", "32MiB"], "--memory 32MiB, but", "made with 64MiB"),
        (["--model", "da3-small"], "--model da3-small, but", "made with bundled"),
        (["--fill", "causal"], "--fill causal, but", "made with support"),
        (["--eviction", "views"], "--eviction views, but", "made with time"),
        (["--dtype", "bfloat16"], "--dtype bfloat16, but", "made with float32"),
        (["--pace", "realtime"], "--pace", "live"),
        (["--live"], "--live", "as it was recorded"),
        (["--record", first], "is the file that is read", "choose another name"),
    ]
    for options, *words in cases:
        assert spark3r("run", first, *options) == 1, options
        told = capfd.readouterr().err
        assert all(word in told for word in words), (options, told)
    assert spark3r("run", first, "--size", "96", "--memory", "65536KiB", "--dtype", "float32") == 0
    assert "all 16 messages are equal" in capfd.readouterr().err


def test_other_weights_are_refused_with_both_hashes(tmp_path: Path, spark3r) -> None:
    video, first = write_video(tmp_path / "clip.mp4", moving_images(2, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first) == 0
    run = RecordedRun.load(first)
    reconstructor = build_reconstructor(recorded_config(RunConfig(source=str(first)), run))
    check_weights(run, reconstructor)
    run.recording.metadata["weights_sha256"] = "ab" * 32
    with pytest.raises(RecordingError, match=f"made with weights {'ab' * 32}, those loaded are random"):
        check_weights(run, reconstructor)


def test_a_difference_is_told(tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    """A recording whose sums were made in another precision: the run goes through, says that it is not the same, and
    fails; so does one of which a message is not made again."""
    video, first = write_video(tmp_path / "clip.mp4", moving_images(5, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first, "--dtype", "float32") == 0
    other = rewrite(first, tmp_path / "other.mcap", {"dtype": "bfloat16"})
    assert spark3r("run", other) == 1
    told = capfd.readouterr().err
    assert "differ (first /frame/ of frame 0" in told
    assert "Traceback" not in told
    windows: list[bytes] = []

    def without_last_window(topic: str, data: bytes) -> bytes | None:
        if topic == "/decisions/":
            windows.append(data)
        return None if topic == "/decisions/" and len(windows) > 1 else data

    shorter = rewrite(first, tmp_path / "shorter.mcap", change=without_last_window)
    assert spark3r("run", shorter, "--out", tmp_path / "out") == 1
    assert "were not made again (first /" in capfd.readouterr().err
    compared = json.loads((tmp_path / "out" / "stats.json").read_text())["compared_with_recording"]
    assert (compared["different"], compared["not_made"] > 0) == (0, True)


def test_metadata_may_follow_the_messages(tmp_path: Path, spark3r) -> None:
    video, first = write_video(tmp_path / "clip.mp4", moving_images(2, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first) == 0
    last = rewrite(first, tmp_path / "last.mcap", metadata_last=True)
    assert spark3r("inspect", last) == 0
    assert spark3r("run", last) == 0
    lz4 = rewrite(first, tmp_path / "lz4.mcap", compression=CompressionType.LZ4)
    assert spark3r("run", lz4) == 0


def test_what_takes_much_or_names_a_file_is_not_decided_by_the_recording(
    tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    video, first = write_video(tmp_path / "clip.mp4", moving_images(2, 128, 96)), tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first) == 0
    settings = json.loads(RecordedRun.load(first).recording.metadata["settings"])
    asked: list[str | None] = []
    monkeypatch.setattr("spark3r_core.models.registry.load_model", lambda *_, weights, **__: asked.append(weights))
    for changes, words in (
        ({"model": "da3-giant"}, "repeat the option if you trust the file"),
        ({"size": 2000}, "repeat the option if you trust the file"),
        ({"memory": "9GiB"}, "repeat the option if you trust the file"),
        ({"size": 20000}, "expected nothing, or a whole number from 1 to 4096"),
        ({"dtype": "object"}, "expected one of auto, float32, bfloat16"),
    ):
        metadata = {"settings": json.dumps({**settings, **changes}), "dtype": None}
        assert spark3r("run", rewrite(first, tmp_path / "new.mcap", metadata)) == 1
        assert words in capfd.readouterr().err
    many = rewrite(first, tmp_path / "new.mcap", {"threads": "20000"})
    assert spark3r("run", many) == 1
    assert "threads is 20000; expected a whole number from 1 to 256" in capfd.readouterr().err
    assert asked == []
    path = {"settings": json.dumps({**settings, "weights": str(video)})}
    run = RecordedRun.load(rewrite(first, tmp_path / "new.mcap", path))
    assert recorded_config(RunConfig(source="x"), run).weights is None
    assert recorded_config(RunConfig(source="x", weights="mine"), run).weights == "mine"


def test_a_recording_of_the_input_alone_is_small_and_repeated(
    tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    """Depth and points are compared by their hashes; the recording of the repeated run has them."""
    video, small = write_video(tmp_path / "clip.mp4", moving_images(10, 128, 96)), tmp_path / "small.mcap"
    assert spark3r("run", video, *SMALL, "--record", small, "--record-only", "input") == 0
    video.unlink()
    counts = Recording(small).info().counts
    assert counts["/frame/"] == 10
    assert counts["/digest/"] >= 10
    assert not counts.keys() & {wire.DEPTH, wire.CLOUD, wire.POSE, wire.TF, wire.STATUS}
    whole = tmp_path / "whole.mcap"
    assert spark3r("run", small, "--record", whole) == 0
    equal = len(payloads(whole))
    assert f"all {equal} messages are equal to the recorded ones, byte by byte" in capfd.readouterr().err
    assert equal == len(payloads(small)) + counts["/digest/"]
    assert small.stat().st_size < whole.stat().st_size / 4
    assert spark3r("compare", whole, small) == 0

    def other_depth(topic: str, payload: bytes) -> bytes:
        digest = recording_pb2.Digest.FromString(payload) if topic == DIGEST else None
        if digest is None or digest.topic != wire.DEPTH or digest.frame_id != 4:
            return payload
        digest.sha256 = bytes(32)
        return digest.SerializeToString()

    changed = rewrite(small, tmp_path / "changed.mcap", change=other_depth)
    capfd.readouterr()
    assert spark3r("run", changed) == 1
    assert "1 differ (first /depth/ of frame 4" in capfd.readouterr().err
    assert spark3r("replay", small, "--speed", "None", "--publish", "tcp://127.0.0.1:*") == 0
    assert "neither depth nor points (--record-only input); `spark3r run" in capfd.readouterr().err


def test_a_digest_that_is_none_is_counted(tmp_path: Path, spark3r) -> None:
    video, small = write_video(tmp_path / "clip.mp4", moving_images(4, 128, 96)), tmp_path / "small.mcap"
    assert spark3r("run", video, *SMALL, "--record", small, "--record-only", "input") == 0
    for payload in (b"\xff", b"x" * 300, recording_pb2.Digest(topic="/depth/").SerializeToString()):
        broken = rewrite(small, tmp_path / "b.mcap", change=lambda topic, data: payload if topic == DIGEST else data)  # noqa: B023
        recording = Recording(broken)
        assert {message.topic for message in recording.compared()} == {wire.FRAME, wire.DEPTH_CALIB}
        assert recording.malformed == recording.info().counts[DIGEST] > 0
    with pytest.raises(ConfigError, match="give its file with --record"):
        RunConfig(source="a.mp4", record_only="input").check()
