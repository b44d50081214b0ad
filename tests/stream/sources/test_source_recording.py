"""Recorded input decoded again: the same pixels for the same frames, whatever was in the container or got lost."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import EndOfStream, RecordingError, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.recording.records import Decisions, DroppedFrames, FrameTime
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.sources import ReconnectOptions, SourceKind, SourceOptions, open_source
from spark3r_stream.sources import recording as recording_source
from spark3r_stream.sources.open import is_recording
from spark3r_stream.sources.recording import RecordingSource
from tests.helpers_media import moving_images, write_video
from tests.helpers_rtsp import RtspServer

SETTINGS = {"settings": "{}"}


def decisions_for(frames: list[Frame], window: int = 0) -> Decisions:
    times = [
        FrameTime(f.frame_id, f.epoch, f.pts_ns, f.captured_ns, f.frame_id if f.picture is None else f.picture)
        for f in frames
    ]
    return Decisions(window, tuple(times), source_id=frames[0].source_id)


def read_all(source) -> list[Frame]:
    frames = []
    while True:
        try:
            frames.append(source.read())
        except EndOfStream:
            return frames


def record_source(path: Path, uri: str, used: Callable[[Frame], bool] = lambda frame: True) -> list[Frame]:
    """Record the input of `uri` and the decision to use some of its frames; returns those."""
    with Recorder(path, SETTINGS, SystemClock()) as recorder:
        options = SourceOptions(on_packet=recorder.packet, single_thread_decode=True)
        source = open_source(uri, options, SystemClock())
        frames = [frame for frame in read_all(source) if used(frame)]
        for window, start in enumerate(range(0, len(frames), 3)):
            recorder.decisions(decisions_for(frames[start : start + 3], window))
    return frames


def assert_same_frames(again: list[Frame], frames: list[Frame]) -> None:
    assert len(again) == len(frames)
    for new, old in zip(again, frames, strict=True):
        assert (new.frame_id, new.epoch, new.pts_ns, new.captured_ns, new.source_id) == (
            old.frame_id,
            old.epoch,
            old.pts_ns,
            old.captured_ns,
            old.source_id,
        )
        assert np.array_equal(new.image, old.image), f"frame {old.frame_id}"


@pytest.mark.parametrize(
    ("codec", "suffix", "settings"),
    [
        ("libx264", ".mp4", {}),  # B-frames: the order of decoding is another than that of showing
        ("libx264", ".mp4", {"turn": (0, 1, -1, 0)}),
        ("libx264", ".mkv", {"pts_ms": [0, 10, 20, 400, 410, 420, 430, 440, 450, 900, 910, 920]}),
        ("mpeg4", ".avi", {}),
        ("mpeg2video", ".ts", {}),
        ("mjpeg", ".avi", {"pix_fmt": "yuvj420p"}),
        ("libvpx-vp9", ".webm", {}),
        ("rawvideo", ".mkv", {"pix_fmt": "yuyv422"}),
        ("png", ".mov", {"pix_fmt": "rgb24"}),
    ],
)
def test_frames_come_back_byte_by_byte_without_the_container(
    tmp_path: Path, codec: str, suffix: str, settings: dict
) -> None:
    video = write_video(tmp_path / f"clip{suffix}", moving_images(12, 64, 48), codec=codec, **settings)
    frames = record_source(tmp_path / "a.mcap", str(video), lambda frame: frame.frame_id % 5 != 2)
    source = open_source(str(tmp_path / "a.mcap"), SourceOptions(), SystemClock())
    assert (source.info.kind, source.info.frame_count, source.info.is_live) == (SourceKind.RECORDING, 10, False)
    assert source.info.name == str(video)
    assert_same_frames(read_all(source), frames)
    assert source.drops.total() == {}


def test_a_video_with_damage_gives_the_same_frames_again(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.ts", moving_images(40, 128, 96), codec="mpeg2video", gop=8)
    data = bytearray(clip.read_bytes())
    for place in range(len(data) // 4, len(data) // 2, 400):
        data[place] ^= 0xFF
    clip.write_bytes(data)
    frames = record_source(tmp_path / "a.mcap", str(clip))
    assert frames[-1].picture >= len(frames) - 1
    assert_same_frames(read_all(RecordingSource(RecordedRun.load(tmp_path / "a.mcap"))), frames)


def test_what_an_edit_list_hides_stays_hidden(tmp_path: Path) -> None:
    """As cut on a phone: the file begins at a key frame, its edit list (ISO/IEC 14496-12, 8.6.6) a bit later."""
    cut = write_video(tmp_path / "cut.mp4", moving_images(24, 64, 48))
    data = bytearray(cut.read_bytes())
    entry = data.index(b"elst") + 12  # behind type, version, flags and count: duration, time in the media, rate
    duration, media_time = struct.unpack_from(">II", data, entry)
    ticks = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]  # per second
    struct.pack_into(">II", data, entry, duration - 5000 // 30, media_time + 5 * ticks // 30)
    cut.write_bytes(data)
    packets: list = []
    source = open_source(str(cut), SourceOptions(on_packet=packets.append), SystemClock())
    shown = len(read_all(source))
    assert sum(p.is_discarded for p in packets) == 5
    assert (len(packets), shown) == (24, 19)
    assert source.drops.total() == {}, "hidden pictures are not lost ones"
    frames = record_source(tmp_path / "a.mcap", str(cut))
    assert_same_frames(read_all(RecordingSource(RecordedRun.load(tmp_path / "a.mcap"))), frames)


def test_images_of_every_kind_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, suffix in enumerate(("jpg", "png", "bmp", "webp", "jpeg", "tif")):
        Image.fromarray(moving_images(6, 40, 30)[i]).save(folder / f"{i}.{suffix}")
    (folder / "3b.png").write_bytes(b"broken")
    frames = record_source(tmp_path / "a.mcap", str(folder), lambda frame: frame.frame_id != 1)
    assert [f.frame_id for f in frames] == [0, 2, 3, 4, 5]
    run = RecordedRun.load(tmp_path / "a.mcap")
    assert run.recording.info().missed == {}
    assert_same_frames(read_all(RecordingSource(run)), frames)


def test_a_rerun_can_be_recorded_and_run_again(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_images(12, 64, 48))
    frames = record_source(tmp_path / "a.mcap", str(video), lambda frame: frame.frame_id > 3)
    again = record_source(tmp_path / "b.mcap", str(tmp_path / "a.mcap"))
    assert_same_frames(again, frames)
    assert_same_frames(read_all(RecordingSource(RecordedRun.load(tmp_path / "b.mcap"))), frames)


def test_a_recording_cut_at_its_end_gives_what_comes_before(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_images(36, 64, 48))
    path = tmp_path / "a.mcap"
    frames = []
    with Recorder(path, SETTINGS, SystemClock(), overwrite=True, flush_interval_s=0.0) as recorder:
        source = open_source(str(video), SourceOptions(on_packet=recorder.packet), SystemClock())
        for window in range(12):
            frames += (part := [source.read() for _ in range(3)])
            recorder.decisions(decisions_for(part, window))
    data = path.read_bytes()
    seen, empty = set(), []
    for cut in range(len(data) - 1, 200, -len(data) // 100):
        path.write_bytes(data[:cut])
        try:
            run = RecordedRun.load(path)
        except RecordingError as error:
            empty.append(str(error))
            continue
        assert "in the middle" in run.cut
        again = read_all(RecordingSource(run))
        assert_same_frames(again, frames[: len(again)])
        seen.add(len(again))
    assert max(seen) == 36 > min(seen), "whole, and less: how often the writer flushes is a matter of load"
    assert all("holds no decisions" in text for text in empty)


def lossy(path: Path, packets: list, windows: list[Decisions], skip_packet: int = -1) -> RecordedRun:
    """Write a recording whose recorder lost a packet: numbers go on, as when its queue is full."""
    with Recorder(path, SETTINGS, SystemClock(), overwrite=True) as recorder:
        for index, packet in enumerate(packets):
            recorder._packet_index = index
            if index != skip_packet:
                recorder.packet(packet)
        for window in windows:
            recorder.decisions(window)
    return RecordedRun.load(path)


def test_what_cannot_be_repeated_is_refused_with_the_place(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_images(8, 64, 48))
    packets: list = []
    frames = read_all(open_source(str(video), SourceOptions(on_packet=packets.append), SystemClock()))
    windows = [decisions_for(frames[:4]), decisions_for(frames[4:], 1)]
    path = tmp_path / "a.mcap"
    with pytest.raises(RecordingError, match=r"lost 1 messages on /input/packet/.*packet 5\)"):
        lossy(path, packets, windows, skip_packet=5)
    with pytest.raises(RecordingError, match=r"lost 1 messages on /input/packet/.*packet 0\)"):
        lossy(path, packets, windows, skip_packet=0)
    with pytest.raises(RecordingError, match=r"lost 1 messages on /decisions/.*window 1\)"):
        lossy(path, packets, [windows[0], replace(windows[1], window=2)])
    with pytest.raises(RecordingError, match="holds no decisions"):
        lossy(path, packets, [])
    with pytest.raises(RecordingError, match="window 0 has no frames"):
        lossy(path, packets, [Decisions(0, ())])
    damaged = [replace(packet, stream=replace(packet.stream, pixel_format="grey7")) for packet in packets]
    with pytest.raises(SourceError, match="cannot decode 'h264'"):
        RecordingSource(lossy(path, damaged, windows))
    with pytest.raises(SourceError, match="cannot decode 'theta'"):
        RecordingSource(lossy(path, [replace(packets[0], codec="theta")], windows))
    with pytest.raises(RecordingError, match="unknown cause 'moths'"):
        lossy(path, packets, [replace(windows[0], drops=(DroppedFrames("moths", 2),))])
    with pytest.raises(RecordingError, match=r"holds no input of its source"):
        RecordingSource(lossy(path, [], windows))
    beyond = replace(windows[0].new_frames[0], picture=99)
    with pytest.raises(RecordingError, match="picture 99 of epoch 0"):
        RecordingSource(lossy(path, packets, [Decisions(0, (beyond,))]))
    with Recorder(path, SETTINGS, SystemClock(), overwrite=True, queue_bytes=1) as recorder:
        recorder.packet(packets[0])
        recorder._queue_bytes = 10**6
        recorder.decisions(windows[0])
    with pytest.raises(RecordingError, match=r"lost 1 messages on /input/packet/.*at its end"):
        RecordedRun.load(path)
    with Recorder(path, {}, SystemClock(), overwrite=True) as recorder:
        recorder.decisions(windows[0])
    with pytest.raises(RecordingError, match="does not say how it was made"):
        RecordedRun.load(path)


def test_a_recorded_name_of_a_world_does_not_say_how_much_is_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_source, "MAX_PIXELS", 3000)
    settings = {"settings": json.dumps({"source": "synthetic:room?frames=3&size=64x48"})}
    with Recorder(tmp_path / "a.mcap", settings, SystemClock()) as recorder:
        recorder.decisions(Decisions(0, tuple(FrameTime(one, 0, one, one, one) for one in range(3))))
    with pytest.raises(RecordingError, match="its pictures are 64x48; at most 3000 pixels"):
        RecordingSource(RecordedRun.load(tmp_path / "a.mcap"))


def test_which_uris_are_recordings() -> None:
    assert is_recording("today.mcap")
    assert is_recording("/data/Today.MCAP")
    assert not is_recording("http://host/today.mcap")
    assert not is_recording("today.mp4")


@pytest.mark.rtsp
def test_a_live_stream_that_broke_and_lost_frames_comes_back(tmp_path: Path) -> None:
    """Two epochs of different size, joined in the middle of the stream, with frames lost on both sides of the pipe."""
    path = tmp_path / "a.mcap"
    options = {"read_timeout_s": 2.0, "reconnect": ReconnectOptions(0.05, 0.2, max_restarts=100)}
    used: list[Frame] = []
    with RtspServer(fps=60) as server, Recorder(path, SETTINGS, SystemClock(), overwrite=True) as recorder:
        source = open_source(
            server.url(),
            SourceOptions(on_packet=recorder.packet, single_thread_decode=True, **options),
            SystemClock(),
        )
        for _ in range(3):
            used.append(source.read())
        time.sleep(0.5)  # 30 frames for 4 slots: the child drops most of them
        for _ in range(12):
            frame = source.read()
            if frame.frame_id % 3:
                used.append(frame)
        server.kill()
        with RtspServer(server.port, size=(320, 240)):
            while used[-1].epoch == 0 or len(used) < 20:
                used.append(source.read())
        source.close()
        for window, start in enumerate(range(0, len(used), 4)):
            recorder.decisions(decisions_for(used[start : start + 4], window))
    assert any(f.picture > f.frame_id for f in used if f.epoch == 0), "the child dropped frames"
    assert used[-1].image.shape == (240, 320, 3)
    assert_same_frames(read_all(RecordingSource(RecordedRun.load(path))), used)
