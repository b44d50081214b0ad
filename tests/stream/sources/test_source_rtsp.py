"""Live RTSP from a real server: what happens when it is killed, frozen, changed, or wants a password."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from spark3r_stream.clock import SystemClock
from spark3r_stream.engine.frame_buffer import DropPolicy, FrameBuffer
from spark3r_stream.engine.producer import Producer
from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.sources import (
    ReconnectOptions,
    RtspTransport,
    SourceKind,
    SourceOptions,
    SourceState,
    open_source,
)
from spark3r_stream.stats import DropCause
from tests.helpers_rtsp import RtspServer

pytestmark = pytest.mark.rtsp

FAST = ReconnectOptions(first_delay_s=0.05, max_delay_s=0.2, max_restarts=100)


def open_url(url: str, **options):
    defaults = {"open_timeout_s": 10.0, "read_timeout_s": 2.0, "reconnect": FAST}
    return open_source(url, SourceOptions(**{**defaults, **options}), SystemClock())


def read(source, count: int) -> list:
    return [source.read() for _ in range(count)]


@pytest.fixture
def server():
    with RtspServer() as running:
        yield running


@pytest.mark.parametrize("transport", list(RtspTransport))
def test_live_frames_carry_unix_time(server, transport):
    before_ns = time.time_ns()
    source = open_url(server.url(), rtsp_transport=transport)
    info = source.info
    assert (info.kind, info.is_live, info.size, info.frame_count) == (SourceKind.NETWORK, True, (160, 120), None)
    assert info.name == server.url()
    frames = read(source, 5)
    source.close()
    assert [f.frame_id for f in frames] == list(range(5))
    assert all(f.image.shape == (120, 160, 3) and f.image.max() > 200 for f in frames)  # a white ball on black
    captured = [f.captured_ns for f in frames]
    assert captured == sorted(captured)
    assert before_ns < captured[0] <= captured[-1] < time.time_ns()
    assert frames[0].pts_ns == 0
    assert frames[1].pts_ns == pytest.approx(1e9 / 15, rel=0.2)
    assert source.state is SourceState.ENDED


def test_a_restarted_server_is_a_new_epoch_of_any_size(server):
    source = open_url(server.url())
    first = read(source, 3)
    server.kill()
    with RtspServer(server.port, size=(320, 240)):
        frames = read(source, 1)
        while frames[-1].epoch == 0:
            frames.append(source.read())
    source.close()
    ids = [f.frame_id for f in first + frames]
    assert ids == list(range(len(ids)))
    assert {f.epoch for f in first} == {0}
    assert frames[-1].epoch == 1
    assert frames[-1].image.shape == (240, 320, 3)
    assert frames[-1].pts_ns == 0
    assert frames[-1].captured_ns > first[-1].captured_ns
    assert source.restarts >= 1


def test_a_silent_server_is_noticed_and_left(server):
    source = open_url(server.url(), read_timeout_s=1.0)
    read(source, 3)
    server.freeze()
    states = {source.state}
    frames: list = []

    def read_until_next_epoch() -> None:
        while not frames or frames[-1].epoch == 0:
            frames.append(source.read())

    reader = threading.Thread(target=read_until_next_epoch)
    reader.start()
    deadline = time.monotonic() + 30
    while SourceState.RECONNECTING not in states and time.monotonic() < deadline:
        states.add(source.state)
        time.sleep(0.005)
    server.thaw()
    reader.join(30)
    assert not reader.is_alive()
    source.close()
    assert {SourceState.STREAMING, SourceState.STALLED, SourceState.RECONNECTING} <= states
    assert frames[-1].epoch == 1


def test_a_stuck_decoder_is_killed_and_replaced(server):
    source = open_url(server.url(), read_timeout_s=0.5)
    read(source, 2)
    stuck_pid = source.decoder_pid
    os.kill(stuck_pid, signal.SIGSTOP)  # as stuck as a process can be
    while source.read().epoch == 0:
        pass
    assert source.decoder_pid != stuck_pid
    assert not Path(f"/proc/{stuck_pid}").exists()
    source.close()


def test_the_restart_budget_ends_in_one_clear_error(server):
    source = open_url(server.url(), reconnect=ReconnectOptions(0.01, 0.02, max_restarts=2))
    read(source, 1)
    server.kill()
    with pytest.raises(SourceError, match=r"was lost and 2 restarts did not help: Connection refused"):
        read(source, 1000)
    assert source.state is SourceState.FAILED
    with pytest.raises(SourceError, match="2 restarts"):
        source.read()


def test_close_wakes_a_reader_that_waits_for_a_dead_server(server):
    source = open_url(server.url(), reconnect=ReconnectOptions(first_delay_s=3600, max_delay_s=3600))
    read(source, 1)
    server.kill()
    outcome: list = []

    def read_to_the_end() -> None:
        try:
            read(source, 1000)
        except EndOfStream as error:
            outcome.append(error)

    reader = threading.Thread(target=read_to_the_end)
    reader.start()
    deadline = time.monotonic() + 20
    while source.state is not SourceState.RECONNECTING and time.monotonic() < deadline:
        time.sleep(0.005)
    source.close()
    reader.join(10)
    assert not reader.is_alive()
    assert len(outcome) == 1
    assert source.state is SourceState.ENDED


def test_credentials_stay_inside(server):
    url = server.url("secret", f"{server.USER}:{server.PASSWORD}@")
    packets: list = []
    source = open_url(url, on_packet=packets.append)
    frame = source.read()
    command_line = Path(f"/proc/{source.decoder_pid}/cmdline").read_bytes().decode()
    seen = [repr(source.info), repr(frame.source_id), repr(packets[0]), command_line, repr(source)]
    source.close()
    with pytest.raises(SourceError) as caught:
        open_url(url.replace("secret", "missing", 1).replace("/secret", "/missing"))
    seen.append(str(caught.value))
    with pytest.raises(SourceError, match="401") as refused:
        open_url(server.url("secret", "eve:wr0ng-guess@"))
    assert "wr0ng" not in str(refused.value)
    assert all(server.PASSWORD not in text for text in seen)
    assert "rtsp://***@127.0.0.1" in seen[0]


def test_packets_of_each_epoch_are_handed_on(server):
    packets: list = []
    source = open_url(server.url(), on_packet=packets.append)
    frames = read(source, 5)
    source.close()
    assert packets[0].is_keyframe
    assert {(p.codec, p.epoch) for p in packets} == {("h264", 0)}
    assert len(packets) >= len(frames)
    assert packets[0].data[:4] in (b"\0\0\0\1", b"\0\0\1\x67")


def test_a_slow_reader_gets_the_newest_frames_and_the_count_of_the_others(server):
    source = open_url(server.url())
    buffer = FrameBuffer(2, DropPolicy.for_source(source.info.is_live))
    with Producer(source, buffer) as producer:
        first = buffer.get(1, timeout_s=10)
        deadline = time.monotonic() + 20
        while buffer.drops.total().get(DropCause.SUPERSEDED, 0) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        second = buffer.get(8, timeout_s=10)
        assert producer.stop()
    lost = first.drops.get(DropCause.SUPERSEDED, 0) + second.drops[DropCause.SUPERSEDED]
    assert lost >= 5
    assert len(second.frames) == 2
    assert second.frames[0].frame_id == len(first.frames) + lost
    assert source.state is SourceState.ENDED


def test_no_server_is_an_error_at_once(server):
    server.kill()
    with pytest.raises(SourceError, match=r"cannot be opened: Connection refused"):
        open_url(server.url())


def test_nothing_is_left_behind(server):
    source = open_url(server.url())
    pid = source.decoder_pid
    read(source, 2)
    source.close()
    assert not Path(f"/proc/{pid}").exists()
    assert not list(Path("/dev/shm").glob(f"spark3r-frames-{pid}-*"))
    assert not [t.name for t in threading.enumerate() if t.name == "spark3r-decoder"]
