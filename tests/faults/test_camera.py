"""A camera that damages, cuts, freezes, restarts and changes its picture, from a real RTSP server."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import EndOfStream
from spark3r_stream.sources import ReconnectOptions, SourceOptions, open_source
from spark3r_stream.sources.decode import ContainerDecoder, Decoded
from spark3r_stream.stats import DropCause, DropCounter
from tests.helpers_media import moving_images, write_video
from tests.helpers_rtsp import RtspServer
from tests.helpers_rtsp_proxy import RtspProxy

ROOT = Path(__file__).parents[2]


class TestLive:
    pytestmark = pytest.mark.rtsp

    def test_damage_is_counted_and_a_new_size_and_a_cut_are_survived(self) -> None:
        options = SourceOptions(reconnect=ReconnectOptions(0.05, 0.2, 100), read_timeout_s=2.0)
        with RtspServer(fps=15) as server, RtspProxy(server.port, seed=3) as proxy:
            source = open_source(proxy.url(), options, SystemClock())
            frames = [source.read()]
            # a damaged key frame costs the pictures up to the next one, a damaged other picture at least itself
            proxy.damage(12)
            while proxy.damaged < 12 or source.drops.total().get(DropCause.DECODE_ERROR, 0) < 6:
                frames.append(source.read())
            assert frames[-1].epoch == 0
            server.switch_size(96, 160)
            while frames[-1].image.shape != (160, 96, 3):
                frames.append(source.read())
            assert frames[-1].epoch == 0  # in mid-stream, without a reconnect
            assert proxy.cut() == 1
            while frames[-1].epoch == 0:
                frames.append(source.read())
            source.close()
        assert [frame.frame_id for frame in frames] == list(range(len(frames)))
        assert frames[-1].image.shape == (160, 96, 3)
        assert {frame.image.shape for frame in frames} == {(120, 160, 3), (160, 96, 3)}
        assert all(b.captured_ns > a.captured_ns for a, b in itertools.pairwise(frames))
        assert proxy.accepted == 2

    @pytest.mark.fault
    @pytest.mark.timeout(900)
    def test_a_bad_hour_in_small(self) -> None:
        counts = ["--disconnects", "12", "--sizes", "4", "--corrupt", "100", "--visitors", "12"]
        command = [sys.executable, str(ROOT / "tools" / "soak.py"), *counts, "--patience", "180"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]
        report = json.loads(done.stdout)
        assert report["failures"] == []
        assert report["epochs"] == 13
        assert report["submaps"] >= 3
        assert report["done"]["damaged_packets"] == 100
        assert report["losses_by_cause"]["decode_error"] > 30
        assert report["recording"]["frames"] == report["frames"]["results"] > 100


def annex_b(size: tuple[int, int], frames: int) -> list[bytes]:
    """H.264 access units: the first with parameter sets and a key frame, the others refer to it."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = size
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 30)
    context.options = {"tune": "zerolatency", "preset": "ultrafast"}
    units = []
    for pts, image in enumerate(moving_images(frames, *size)):
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        picture.pts = pts
        units += [bytes(packet) for packet in context.encode(picture)]
    return units


def test_a_picture_of_a_new_size_without_a_key_frame_is_damage(tmp_path: Path) -> None:
    whole, other = annex_b((160, 120), 6), annex_b((128, 144), 6)
    parameters = other[0][: other[0].rindex(b"\0\0\1\x65")]  # all but the key frame's slice
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join([*whole, parameters, *other[1:], *whole]))
    drops = DropCounter()
    decoder = ContainerDecoder(str(path), drops, single_thread=True, low_delay=True)
    sizes = [decoded.image.shape[:2] for decoded in iter(lambda: read_or_end(decoder), None)]
    decoder.close()
    assert sizes == [(120, 160)] * 12
    assert drops.total()[DropCause.DECODE_ERROR] in (5, 6)  # some parsers make a packet of the parameters alone


def read_or_end(decoder: ContainerDecoder) -> Decoded | None:
    try:
        return decoder.read()
    except EndOfStream:
        return None


def test_a_live_stream_tells_silent_losses_before_it_ends(tmp_path: Path) -> None:
    """Without its first key frame, H.264 gives nothing and no error until the next one."""
    whole = write_video(tmp_path / "whole.ts", moving_images(60, 160, 120), gop=20)
    cut = tmp_path / "cut.ts"
    with av.open(str(whole)) as read, av.open(str(cut), "w") as write:
        track = write.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(p for p in read.demux(video=0) if p.size):
            if number:
                packet.stream = track
                write.mux(packet)
    drops = DropCounter()
    decoder = ContainerDecoder(str(cut), drops, single_thread=True, low_delay=True)
    decoder.read()
    counted_at_once = drops.total().get(DropCause.DECODE_ERROR, 0)
    shown = 1 + sum(1 for _ in iter(lambda: read_or_end(decoder), None))
    decoder.close()
    assert counted_at_once == 19
    assert shown == 40
    assert drops.total() == {DropCause.DECODE_ERROR: 19}
