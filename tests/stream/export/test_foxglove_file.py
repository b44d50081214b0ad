"""`export --to foxglove`: read back by the mcap package, decoded by FFmpeg from the messages alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from PIL import Image

from spark3r_stream.export.foxglove_file import INPUT_JPEG, INPUT_VIDEO
from spark3r_stream.proto import recording_pb2
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from tests.helpers_media import moving_images, write_video
from tests.helpers_recording import rewrite

Spark3r = Callable[..., int]
NO_B = {"bf": "0"}
X265 = "bframes=0:keyint=4:min-keyint=4:log-level=none"
COUNT = 11  # frames, three of which are key frames
SMALL = ("--weights", "random", "--size", "96")
SYNTHETIC = "synthetic:room?seed=3&frames=4&size=160x120"


def record(spark3r: Spark3r, video: Path, *options: object) -> Path:
    path = video.with_suffix(".mcap")
    assert spark3r("run", video, *SMALL, "--record", path, *options) == 0
    return path


def export(spark3r: Spark3r, recording: Path) -> Path:
    out = recording.with_name("foxglove.mcap")
    assert spark3r("export", recording, "--to", "foxglove", "--out", out) == 0
    return out


def contents(path: Path) -> list[tuple[Any, ...]]:
    """Of every message in the order of the file: topic, what it says, and the schema that describes it."""
    with path.open("rb") as file:
        return [
            (c.topic, m.log_time, m.publish_time, m.sequence, m.data, s.name, s.encoding, s.data, c.message_encoding)
            for s, c, m in make_reader(file, validate_crcs=True).iter_messages(log_time_order=False)
        ]


def pictures(path: Path, topic: str) -> list[tuple[int, Any]]:
    """(log time, message) in the order of log times, as a player reads them."""
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [(m.log_time, said) for _, _, m, said in reader.iter_decoded_messages(topics=[topic])]


def captured_ns(message: Any) -> int:
    return message.timestamp.seconds * 10**9 + message.timestamp.nanos


def decoded(messages: list[Any], codec: str) -> list[np.ndarray]:
    """RGB, by a decoder that was told nothing but the name of the codec; one packet must give one picture."""
    decoder: Any = av.CodecContext.create(codec, "r")
    found = []
    for message in [*messages, None]:
        found += decoder.decode(None if message is None else av.Packet(message.data))
    return [picture.to_ndarray(format="rgb24") for picture in found]


def of_file(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]


def frame_times(recording: Path) -> list[tuple[int, int]]:
    """(log time, time of capture) of the frames."""
    return [
        (message.envelope.published_ns, message.envelope.captured_ns)
        for message in Recording(recording).messages([wire.FRAME])
    ]


def nal_types(message: Any) -> list[int]:
    kind = (lambda head: head >> 1 & 63) if message.format == "h265" else (lambda head: head & 31)
    return [kind(part[0]) for part in message.data.split(b"\x00\x00\x01")[1:]]


def without_data(topic: str, payload: bytes) -> bytes:
    if topic != "/input/packet/":
        return payload
    packet = recording_pb2.InputPacket.FromString(payload)
    packet.data = bytes(len(packet.data))
    return packet.SerializeToString()


def assert_copied(recording: Path, out: Path, topic: str) -> None:
    before, after = contents(recording), contents(out)
    assert [one for one in after if one[0] != topic] == before
    assert len(after) > len(before)
    with recording.open("rb") as old, out.open("rb") as new:
        metadata = [[(m.name, m.metadata) for m in make_reader(file).iter_metadata()] for file in (old, new)]
    assert metadata[0] == metadata[1]
    assert len(metadata[0]) == 2


@pytest.mark.parametrize(
    ("name", "codec", "decoder", "coder", "sets"),
    [
        ("clip.mp4", "libx264", "h264", NO_B, {7, 8}),
        ("clip.ts", "libx264", "h264", NO_B, {7, 8}),
        (
            "clip.mp4",
            "libx265",
            "hevc",
            {"x265-params": X265},
            {32, 33, 34},
        ),
        ("clip.webm", "libvpx-vp9", "vp9", {}, set()),
        ("clip.mp4", "libsvtav1", "libdav1d", {"svtav1-params": "pred-struct=1"}, set()),
    ],
    ids=["h264", "h264-ts", "h265", "vp9", "av1"],
)
def test_video(
    tmp_path: Path, spark3r: Spark3r, name: str, codec: str, decoder: str, coder: dict[str, str], sets: set[int]
) -> None:
    images = moving_images(COUNT, 128, 96)
    recording = record(spark3r, write_video(tmp_path / name, images, codec=codec, coder=coder, gop=4))
    out = export(spark3r, recording)
    found = pictures(out, INPUT_VIDEO)
    messages = [message for _, message in found]
    expected = of_file(tmp_path / name)
    shown = decoded(messages, decoder)
    assert len(shown) == len(messages) == len(expected) == COUNT
    assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))
    name_of = {"h264": "h264", "hevc": "h265", "vp9": "vp9", "libdav1d": "av1"}[decoder]
    assert {(message.format, message.frame_id) for message in messages} == {(name_of, "camera")}
    if sets:
        starts = [index for index, message in enumerate(messages) if set(nal_types(message)) & {5, 19, 20, 21}]
        assert starts == [0, 4, 8]
        for index in starts:
            assert set(nal_types(messages[index])) >= sets
            assert np.array_equal(decoded(messages[index:], decoder)[0], expected[index]), "a player can begin here"
    assert [(at, captured_ns(message)) for at, message in found] == frame_times(recording)
    assert_copied(recording, out, INPUT_VIDEO)


def test_pictures_that_the_run_did_not_use(tmp_path: Path, spark3r: Spark3r) -> None:
    """Others refer to them, so they are there, at times between; from the key frame before the first to the last."""
    video = write_video(tmp_path / "clip.mp4", moving_images(COUNT, 128, 96), coder=NO_B, gop=4)
    whole, unused = record(spark3r, video), {0, 1, 2, 3, 4, 7, 8, 10}
    numbers = iter(range(COUNT))
    part = rewrite(
        whole,
        tmp_path / "part.mcap",
        change=lambda topic, data: None if topic == wire.FRAME and next(numbers) in unused else data,
    )
    found = pictures(export(spark3r, part), INPUT_VIDEO)
    shown = decoded([message for _, message in found], "h264")
    expected = of_file(video)[4:10]
    assert len(shown) == len(expected)
    assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))
    times = [(at, captured_ns(message)) for at, message in found]
    assert [times[index - 4] for index in (5, 6, 9)] == frame_times(part)
    assert times[0] == times[1]
    assert times[2] < times[3] < times[4] < times[5]
    (logged, captured), (logged_last, captured_last) = times[2], times[5]
    for n in (1, 2):
        expected_times = logged + (logged_last - logged) * n / 3, captured + (captured_last - captured) * n / 3
        np.testing.assert_allclose(np.subtract(times[2 + n], expected_times), 0, atol=1000)


@pytest.mark.parametrize(
    ("name", "how", "why"),
    [
        ("clip.mp4", {}, "has B-frames"),
        ("clip.mp4", {"coder": NO_B, "turn": (0, 1, -1, 0)}, "has to be turned"),
        ("clip.ts", {"coder": {**NO_B, "aspect": "2:1"}}, "stretched"),
        ("clip.mp4", {"coder": {**NO_B, "flags": "+ildct+ilme"}}, "is interlaced"),
        ("clip.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, "is mjpeg"),
    ],
    ids=["b-frames", "turned", "stretched", "interlaced", "mjpeg"],
)
def test_what_is_no_video_of_the_schema_becomes_jpegs(
    tmp_path: Path, spark3r: Spark3r, capfd: pytest.CaptureFixture[str], name: str, how: dict[str, Any], why: str
) -> None:
    recording = record(spark3r, write_video(tmp_path / name, moving_images(COUNT, 128, 96), **how))
    capfd.readouterr()
    out = export(spark3r, recording)
    notes = [line for line in capfd.readouterr().err.splitlines() if "note:" in line]
    assert [why in note and INPUT_JPEG in note for note in notes] == [True]
    assert not pictures(out, INPUT_VIDEO)
    found = pictures(out, INPUT_JPEG)
    assert [(at, captured_ns(message)) for at, message in found] == frame_times(recording)
    assert {(message.format, message.frame_id) for _, message in found} == {("jpeg", "camera")}
    expected = [Image.fromarray(image) for image in of_file(tmp_path / name)]
    if "turn" in how:
        expected = [image.transpose(Image.Transpose.ROTATE_270) for image in expected]
    if why == "stretched":
        expected = [image.resize((2 * image.width, image.height), Image.Resampling.BICUBIC) for image in expected]
    shown = [Image.open(io.BytesIO(message.data)) for _, message in found]
    assert [image.size for image in shown] == [image.size for image in expected]
    apart = [[np.subtract(one, other, dtype=int).__abs__().mean() for other in expected] for one in shown]
    assert np.argmin(apart, axis=1).tolist() == list(range(COUNT))
    assert np.diag(apart).max() < 10
    assert_copied(recording, out, INPUT_JPEG)


def test_a_synthetic_source_is_rendered_again(tmp_path: Path, spark3r: Spark3r) -> None:
    recording = tmp_path / "run.mcap"
    assert spark3r("run", SYNTHETIC, *SMALL, "--record", recording, "--images") == 0
    found = pictures(export(spark3r, recording), INPUT_JPEG)
    published = pictures(recording, wire.IMAGE)
    assert [(captured_ns(m), m.data, m.frame_id) for _, m in found] == [
        (captured_ns(m), m.data, m.frame_id) for _, m in published
    ]
    assert len(found) == 4


def test_a_folder_of_pictures_is_copied(tmp_path: Path, spark3r: Spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(moving_images(3, 128, 96)):
        Image.fromarray(image).save(folder / f"{index}.png")
    recording = record(spark3r, folder)
    capfd.readouterr()
    assert contents(export(spark3r, recording)) == contents(recording)
    assert "has its pictures on /input/image/ already" in capfd.readouterr().err


def test_the_copy_is_a_recording(tmp_path: Path, spark3r: Spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    recording = record(spark3r, write_video(tmp_path / "clip.mp4", moving_images(4, 128, 96), coder=NO_B))
    out = export(spark3r, recording)
    assert Recording(out).info().complete
    capfd.readouterr()
    assert spark3r("run", out) == 0
    assert "messages are equal to the recorded ones, byte by byte" in capfd.readouterr().err


def test_what_cannot_be_exported_or_replaced(
    tmp_path: Path, spark3r: Spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    recording = record(spark3r, write_video(tmp_path / "clip.mp4", moving_images(4, 128, 96), coder=NO_B))
    out = export(spark3r, recording)
    before = recording.read_bytes(), out.read_bytes()
    other, letters = tmp_path / "other.mcap", tmp_path / "letters.txt"
    other.write_bytes(b"letters")
    letters.write_bytes(b"letters")
    bare = rewrite(
        recording, tmp_path / "bare.mcap", change=lambda topic, data: None if topic == "/input/packet/" else data
    )
    gap = rewrite(
        recording,
        tmp_path / "gap.mcap",
        change=lambda topic, data: b"\xff" if topic == "/input/packet/" and len(data) > 4000 else data,
    )
    junk = rewrite(recording, tmp_path / "junk.mcap", change=without_data)
    fresh = tmp_path / "fresh.mcap"
    for source, target, words in (
        (recording, out, "--overwrite replaces it"),
        (recording, letters, "is no recording"),
        (recording, recording, "is the file that is read"),
        (recording, tmp_path, "is a folder"),
        (recording, tmp_path / "missing" / "x.mcap", "cannot write"),
        (other, fresh, "is not an MCAP recording"),
        (letters, fresh, "needs a recording"),
        (tmp_path / "none.mcap", fresh, "there is no"),
        (bare, fresh, "holds no input"),
        (gap, fresh, "cannot be read"),
        (junk, fresh, "do not come out of the recorded input"),
        (out, fresh, "has its pictures already"),
    ):
        capfd.readouterr()
        assert spark3r("export", source, "--to", "foxglove", "--out", target) == 1, words
        said = capfd.readouterr().err.splitlines()
        assert [words in line for line in said if "note:" not in line] == [True], said
    assert (recording.read_bytes(), out.read_bytes(), letters.read_bytes()) == (*before, b"letters")
    assert not [*tmp_path.glob("fresh*"), *tmp_path.glob("*.part")]
    assert spark3r("export", recording, "--to", "foxglove", "--out", out, "--overwrite") == 0


def test_a_recording_that_was_cut(tmp_path: Path, spark3r: Spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    recording = record(spark3r, write_video(tmp_path / "clip.mp4", moving_images(4, 128, 96), coder=NO_B))
    data = recording.read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[: len(data) - 200])
    capfd.readouterr()
    out = export(spark3r, cut)
    assert "is not complete" in capfd.readouterr().err
    assert len(pictures(out, INPUT_VIDEO)) == 4
