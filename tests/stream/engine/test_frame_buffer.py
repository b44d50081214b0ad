from __future__ import annotations

import threading

import pytest

from spark3r_stream.engine.frame_buffer import DropPolicy, FrameBuffer
from spark3r_stream.engine.producer import Producer
from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.sources.base import SourceState
from spark3r_stream.stats import DropCause, DropCounter
from tests.helpers import make_frame

JOIN_S = 10.0


def ids(batch) -> list[int]:
    return [frame.frame_id for frame in batch.frames]


def in_thread(function) -> tuple[threading.Thread, list]:
    """Run `function` in a thread; its result or exception is appended to the list."""
    outcome: list = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def drain(buffer: FrameBuffer, batches: list) -> None:
    """Append every batch to `batches` until the buffer raises."""
    while True:
        batches.append(buffer.get(3, timeout_s=JOIN_S))


class ScriptedSource:
    """Frames from a list, then an exception, or blocking until closed: a source with faults on demand."""

    def __init__(self, frames: int, then: BaseException | None, decode_errors: int = 0) -> None:
        self.drops = DropCounter()
        self._frames = [make_frame(i) for i in range(frames)][::-1]
        self._then = then
        self._decode_errors = decode_errors
        self.closed = threading.Event()
        self.blocked = threading.Event()

    state = SourceState.STREAMING

    @property
    def info(self):
        raise NotImplementedError

    def read(self):
        if self._frames:
            return self._frames.pop()
        self.drops.add(DropCause.DECODE_ERROR, self._decode_errors)
        if self._then is not None:
            raise self._then
        self.blocked.set()
        self.closed.wait()
        raise EndOfStream("closed")

    def close(self) -> None:
        self.closed.set()


def test_get_returns_what_is_there_in_order():
    buffer = FrameBuffer(8, DropPolicy.LOSSLESS)
    for i in range(5):
        assert buffer.put(make_frame(i))
    batch = buffer.get(3)
    assert ids(batch) == [0, 1, 2]
    assert batch.waiting == 2
    assert ids(buffer.get(3)) == [3, 4]
    assert buffer.get(1, timeout_s=0.01).frames == ()


def test_newest_replaces_the_oldest_and_counts_it_once():
    buffer = FrameBuffer(3, DropPolicy.NEWEST)
    for i in range(10):
        assert buffer.put(make_frame(i))
    batch = buffer.get(8)
    assert ids(batch) == [7, 8, 9]
    assert batch.drops == {DropCause.SUPERSEDED: 7}
    buffer.put(make_frame(10))
    assert buffer.get(8).drops == {}
    assert buffer.drops.total() == {DropCause.SUPERSEDED: 7}


def test_lossless_blocks_until_there_is_room_and_loses_nothing():
    buffer = FrameBuffer(2, DropPolicy.LOSSLESS)
    thread, outcome = in_thread(lambda: [buffer.put(make_frame(i)) for i in range(50)])
    received: list[int] = []
    while len(received) < 50:
        assert len(buffer) <= 2
        received += ids(buffer.get(1, timeout_s=JOIN_S))
    thread.join(JOIN_S)
    assert outcome == [[True] * 50]
    assert received == list(range(50))
    assert buffer.drops.total() == {}


def test_close_lets_waiting_frames_out_and_then_ends_again_and_again():
    buffer = FrameBuffer(4, DropPolicy.LOSSLESS)
    buffer.put(make_frame(0))
    buffer.close()
    assert not buffer.put(make_frame(1))
    assert ids(buffer.get(4)) == [0]
    for _ in range(2):
        with pytest.raises(EndOfStream):
            buffer.get(1)


def test_close_wakes_a_blocked_put():
    buffer = FrameBuffer(1, DropPolicy.LOSSLESS)
    buffer.put(make_frame(0))
    thread, outcome = in_thread(lambda: buffer.put(make_frame(1)))
    buffer.close()
    thread.join(JOIN_S)
    assert outcome == [False]


@pytest.mark.parametrize(
    ("end", "expected"),
    [(lambda b: b.close(), EndOfStream), (lambda b: b.fail(SourceError("cable pulled")), SourceError)],
)
def test_either_end_wakes_a_blocked_get(end, expected):
    buffer = FrameBuffer(1, DropPolicy.NEWEST)
    thread, outcome = in_thread(lambda: buffer.get(1))
    end(buffer)
    thread.join(JOIN_S)
    assert isinstance(outcome[0], expected)


def test_the_first_end_wins():
    buffer = FrameBuffer(1, DropPolicy.NEWEST)
    buffer.close()
    buffer.fail(SourceError("too late to matter"))
    with pytest.raises(EndOfStream):
        buffer.get(1)


@pytest.mark.parametrize("capacity", [0, -1])
def test_capacity_must_be_positive(capacity):
    with pytest.raises(ValueError, match="capacity"):
        FrameBuffer(capacity, DropPolicy.NEWEST)


def test_producer_delivers_everything_and_ends():
    buffer = FrameBuffer(2, DropPolicy.LOSSLESS)
    source = ScriptedSource(20, then=EndOfStream("done"))
    batches: list = []
    with Producer(source, buffer) as producer, pytest.raises(EndOfStream):
        drain(buffer, batches)
    assert [i for batch in batches for i in ids(batch)] == list(range(20))
    assert producer.stop(JOIN_S)
    assert source.closed.is_set()


def test_a_producer_crash_reaches_the_reader_after_the_good_frames():
    buffer = FrameBuffer(8, DropPolicy.LOSSLESS)
    with Producer(ScriptedSource(2, then=ZeroDivisionError("bug in a source")), buffer):
        batches: list = []
        with pytest.raises(ZeroDivisionError, match="bug in a source"):
            drain(buffer, batches)
    assert [i for batch in batches for i in ids(batch)] == [0, 1]


def test_losses_inside_the_source_are_in_the_buffers_count():
    buffer = FrameBuffer(8, DropPolicy.LOSSLESS)
    with Producer(ScriptedSource(1, then=EndOfStream("done"), decode_errors=3), buffer):
        batches: list = []
        with pytest.raises(EndOfStream):
            drain(buffer, batches)
    # those after the last frame have no batch to travel with, but are in the total
    assert buffer.drops.total() == {DropCause.DECODE_ERROR: 3}
    assert sum(sum(batch.drops.values()) for batch in batches) + sum(buffer.drops.take().values()) == 3


def test_stop_wakes_a_producer_blocked_in_read():
    buffer = FrameBuffer(1, DropPolicy.NEWEST)
    source = ScriptedSource(0, then=None)
    producer = Producer(source, buffer)
    producer.start()
    assert source.blocked.wait(JOIN_S)
    assert producer.stop(JOIN_S)
    with pytest.raises(EndOfStream):
        buffer.get(1)


def test_stop_wakes_a_producer_blocked_in_put():
    buffer = FrameBuffer(1, DropPolicy.LOSSLESS)
    producer = Producer(ScriptedSource(100, then=None), buffer)
    producer.start()
    assert buffer.get(1, timeout_s=JOIN_S).frames
    assert producer.stop(JOIN_S)


def test_stop_before_start_does_nothing_harmful():
    assert Producer(ScriptedSource(0, then=None), FrameBuffer(1, DropPolicy.NEWEST)).stop()
