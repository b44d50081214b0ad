"""URLs over a real HTTP server: finite files (every frame, no second attempt) and a live MJPEG camera."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.sources import ReconnectOptions, SourceKind, SourceOptions, SourceState, open_source
from spark3r_stream.stats import DropCause
from tests.helpers_media import BLUE, GREEN, RED, WHITE, corners, moving_images, quadrants, write_video

BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"


class Handler(BaseHTTPRequestHandler):
    """/file: all of `body`; /cut: says all, sends half; /stall: sends half, then nothing; /silent: nothing; /mjpeg."""

    body = b""
    released = threading.Event()
    jpegs: tuple[bytes, ...] = ()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/mjpeg":
            self._camera()
        elif path == "/silent":
            self.released.wait(30)
        elif path in ("/file", "/cut", "/stall"):
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(self.body)))
            self.end_headers()
            self.wfile.write(self.body if path == "/file" else self.body[: len(self.body) // 2])
            if path == "/stall":
                self.wfile.flush()
                self.released.wait(30)
        else:
            self.send_error(404)

    def _camera(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for jpeg in self.jpegs:
                self.wfile.write(BOUNDARY + jpeg + b"\r\n")
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            return  # the client has left

    def log_message(self, *_args: object) -> None:
        """Silence: the server's access log is not part of a test's output."""


@contextmanager
def serving(body: bytes = b"", jpegs: tuple[bytes, ...] = ()) -> Iterator[str]:
    released = threading.Event()
    handler = type("BoundHandler", (Handler,), {"body": body, "released": released, "jpegs": jpegs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler))
    server.daemon_threads = True
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def open_url(url: str, **options):
    return open_source(url, SourceOptions(**{"open_timeout_s": 5.0, "read_timeout_s": 2.0, **options}), SystemClock())


def read_all(source) -> list:
    frames = []
    while True:
        try:
            frames.append(source.read())
        except EndOfStream:
            return frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    path = write_video(tmp_path_factory.mktemp("clip") / "a.ts", moving_images(60, 160, 120))
    return path.read_bytes()


def test_a_file_is_lossless_even_for_a_slow_reader(clip):
    with serving(clip) as base:
        source = open_url(f"{base}/file")
        assert (source.info.kind, source.info.is_live, source.info.size) == (SourceKind.VIDEO, False, (160, 120))
        time.sleep(0.5)  # the child would have decoded all 60 by now if it did not wait for the reader
        frames = read_all(source)
    assert [f.frame_id for f in frames] == list(range(60))
    assert [f.pts_ns for f in frames] == pytest.approx([i * 33_333_333 for i in range(60)], abs=100_000)
    assert all(f.captured_ns == f.pts_ns and f.epoch == 0 for f in frames)
    assert source.drops.total() == {}
    assert source.state is SourceState.ENDED


def test_a_size_change_passes_through_the_child(tmp_path):
    small = write_video(tmp_path / "a.ts", moving_images(5, 64, 48)).read_bytes()
    large = write_video(tmp_path / "b.ts", moving_images(5, 320, 240)).read_bytes()
    with serving(small + large + small) as base:
        frames = read_all(open_url(f"{base}/file"))
    assert [f.image.shape[:2] for f in frames] == [(48, 64)] * 5 + [(240, 320)] * 5 + [(48, 64)] * 5


def test_the_display_matrix_passes_through_the_child(tmp_path):
    path = write_video(tmp_path / "a.mp4", [quadrants(64, 48)] * 2, turn=(0, -1, 1, 0))
    with serving(path.read_bytes()) as base:
        frames = read_all(open_url(f"{base}/file"))
    assert [corners(f.image) for f in frames] == [[GREEN, WHITE, RED, BLUE]] * 2


def test_a_broken_transfer_is_an_error_after_the_good_frames(clip):
    with serving(clip) as base:
        source = open_url(f"{base}/cut")
        frames: list = []
        with pytest.raises(SourceError):
            frames += [source.read() for _ in range(60)]
        assert source.state is SourceState.FAILED
        with pytest.raises(SourceError):
            source.read()


def test_a_stalled_transfer_does_not_hang(clip):
    with serving(clip) as base:
        source = open_url(f"{base}/stall", read_timeout_s=0.5)
        with pytest.raises(SourceError):
            [source.read() for _ in range(60)]


@pytest.mark.parametrize(("path", "expected"), [("missing", "404"), ("silent", "cannot be opened")])
def test_what_cannot_be_opened_is_said_in_one_line(path, expected):
    with serving() as base, pytest.raises(SourceError, match=expected) as caught:
        open_url(f"{base.replace('//', '//eve:pa55word@')}/{path}?token=hush", open_timeout_s=0.5)
    assert "pa55word" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_close_wakes_a_reader_of_a_stalled_transfer(clip):
    with serving(clip) as base:
        source = open_url(f"{base}/stall", read_timeout_s=60.0)
        outcome: list = []

        def read_to_the_end() -> None:
            try:
                outcome.append(read_all(source))
            except SourceError as error:
                outcome.append(error)

        reader = threading.Thread(target=read_to_the_end)
        reader.start()
        reader.join(1.0)
        source.close()
        reader.join(10)
        assert not reader.is_alive()
    assert isinstance(outcome[0], list)


def _jpeg(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_live_stream_may_change_its_size_within_an_epoch():
    jpegs = tuple(_jpeg(quadrants(*size)) for size in [(64, 48)] * 8 + [(320, 240)] * 8 + [(48, 96)] * 8)
    with serving(jpegs=jpegs) as base:
        source = open_url(f"{base}/mjpeg", live=True, reconnect=ReconnectOptions(0.0, 0.0))
        frames = [source.read()]
        while frames[-1].epoch == 0:
            frames.append(source.read())
        source.close()
    shapes = [f.image.shape[:2] for f in frames[:-1]]
    assert list(dict.fromkeys(shapes)) == [(48, 64), (240, 320), (96, 48)]
    assert all(corners(f.image) == [RED, GREEN, BLUE, WHITE] for f in frames)


@pytest.mark.fault
def test_many_reconnections_leave_nothing_behind():
    jpegs = tuple(_jpeg(image) for image in moving_images(3, 160, 120))
    with serving(jpegs=jpegs) as base:
        reconnect = ReconnectOptions(0.0, 0.0, max_restarts=1000)
        source = open_url(f"{base}/mjpeg", live=True, reconnect=reconnect)
        counts = []
        for epoch in (2, 12):
            while source.read().epoch < epoch:
                pass
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            decoders = [t for t in threading.enumerate() if t.name == "spark3r-decoder"]
            counts.append((len(os.listdir("/proc/self/fd")), len(children), len(decoders)))
        source.close()
    assert source.restarts == 12
    assert abs(counts[1][0] - counts[0][0]) <= 2  # the server's own connections come and go
    assert counts[1][1:] == counts[0][1:]


def test_a_live_mjpeg_camera_counts_damage_and_comes_back_in_new_epochs():
    good = [_jpeg(image) for image in moving_images(30, 160, 120)]
    broken = b"\xff\xd8\xff" + bytes(400) + b"\xff\xd9"
    with serving(jpegs=(*good[:10], broken, broken, *good[10:])) as base:
        reconnect = ReconnectOptions(0.01, 0.02, max_restarts=50)
        source = open_url(f"{base}/mjpeg", live=True, reconnect=reconnect)
        assert (source.info.kind, source.info.is_live) == (SourceKind.NETWORK, True)
        frames = [source.read()]
        while frames[-1].epoch < 2:
            frames.append(source.read())
        source.close()
    assert [f.frame_id for f in frames] == list(range(len(frames)))
    assert source.drops.total()[DropCause.DECODE_ERROR] >= 2
    assert source.restarts == 2


def test_half_a_jpeg_is_damage_and_not_a_frame():
    good = [_jpeg(image) for image in moving_images(24, 160, 120)]
    halves = [jpeg[: len(jpeg) // 2] for jpeg in good[3:20:4]]
    jpegs = list(good)
    jpegs[3:20:4] = halves
    with serving(jpegs=tuple(jpegs)) as base:
        source = open_url(f"{base}/mjpeg", live=True, reconnect=ReconnectOptions(0.01, 0.02, max_restarts=50))
        frames = [source.read()]
        while frames[-1].epoch == 0:
            frames.append(source.read())
        losses = source.drops.total()
        source.close()
    whole = [np.asarray(Image.open(io.BytesIO(jpeg)), np.int16) for jpeg in good]
    for frame in frames:
        assert min(np.abs(frame.image.astype(np.int16) - image).mean() for image in whole) < 4
    assert losses[DropCause.DECODE_ERROR] == len(halves)
    assert len(frames) - 1 + sum(losses.values()) >= 23  # no boundary tells that the last one is complete
