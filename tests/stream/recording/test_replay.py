"""A recording played again: its messages, its pace, seeking, to subscribers."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import RecordingError
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.replay import Replay, republish
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message
from tests.helpers_wire import SESSION, frames, make_sealer


def test_replay_at_full_speed_gives_the_recorded_messages(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    with Replay(path, speed=None) as replay:
        received = list(replay)
        assert replay.ended
        assert replay.session_id != SESSION
        assert {m.envelope.session_id for m in received} == {replay.session_id}
        assert all(m.envelope.replay for m in received)
        as_sent = [replace(m, envelope=replace(m.envelope, session_id=SESSION, replay=False)) for m in received]
        assert as_sent == sent
        assert replay.poll(None) is None


def test_replay_keeps_the_recorded_pace(recorded: tuple[Path, list[Message]]) -> None:
    """Frames are 100 ms apart: at a hundredth of the speed the second one is due after ten seconds."""
    path, _ = recorded
    with Replay(path, [wire.FRAME], speed=0.01) as replay:
        first = replay.poll(5.0)
        assert first is not None
        assert first.envelope.frame_id == 0
        assert replay.poll(0.01) is None
        assert not replay.ended
    with Replay(path, [wire.FRAME], speed=100.0) as replay:
        assert [m.envelope.frame_id for m in replay] == list(range(10))


def test_seek_pause_and_loop(recorded: tuple[Path, list[Message]]) -> None:
    path, _ = recorded
    with Replay(path, [wire.FRAME], speed=None, start_s=0.55) as replay:
        assert [m.envelope.frame_id for m in replay] == [6, 7, 8, 9]
        session = replay.session_id
        replay.seek(0.3)
        assert replay.session_id != session, "or a receiver would see time go back"
        replay.pause()
        assert replay.poll(0.0) is None
        assert not replay.ended
        replay.resume()
        assert next(iter(replay)).envelope.frame_id == 3
        replay.seek(99.0)
        assert list(replay) == []
    with Replay(path, [wire.FRAME], speed=None, loop=True) as replay:
        taken = [next(iter(replay)) for _ in range(25)]
        assert [m.envelope.frame_id for m in taken] == [i % 10 for i in range(25)]
        assert len({m.envelope.session_id for m in taken}) == 3


def test_latest_of_a_replay(recorded: tuple[Path, list[Message]]) -> None:
    path, _ = recorded
    with Replay(path, speed=None) as replay:
        ids = [message.envelope.frame_id for message in iter(replay.latest, None)]
        assert ids == list(range(10))


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_an_impossible_speed_is_refused(recorded: tuple[Path, list[Message]], speed: float) -> None:
    with pytest.raises(RecordingError, match="expected a positive number"):
        Replay(recorded[0], speed=speed)


def test_republished_messages_reach_a_subscriber_unchanged(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    with (
        Publisher("tcp://127.0.0.1:*", uuid.uuid4()) as publisher,
        Subscriber(publisher.endpoint, timeout_s=0.6) as subscriber,
        Replay(path, speed=None) as replay,
    ):
        assert subscriber.wait_connected(10)
        assert republish(replay, publisher, threading.Event()) == len(sent)
        received = list(subscriber)
        assert [m.payload for m in received] == [m.payload for m in sent]
        assert subscriber.session_id == replay.session_id
        assert sum(subscriber.missed.values()) == 0
        with Subscriber(publisher.endpoint) as late:
            assert late.wait_connected(10)
            assert late.session_id == replay.session_id, "the session of the pass, not of the publisher's start"


def test_replay_at_full_speed_does_not_overrun_the_publisher(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    with (
        Publisher("tcp://127.0.0.1:*", uuid.uuid4(), queue_messages=1) as publisher,
        Replay(path, speed=None) as replay,
    ):
        assert republish(replay, publisher, threading.Event(), poll_s=10.0) == len(sent)
        assert publisher.dropped == 0


def test_a_gap_in_the_recording_is_a_gap_again(tmp_path: Path) -> None:
    path = tmp_path / "gap.mcap"
    with Recorder(path, {}, SystemClock()) as recorder:
        for i, batch in enumerate(frames(make_sealer(), range(4))):
            if i != 2:
                recorder.send(batch)
    with (
        Publisher("tcp://127.0.0.1:*", uuid.uuid4()) as publisher,
        Subscriber(publisher.endpoint, [wire.FRAME], timeout_s=0.6) as subscriber,
        Replay(path, speed=None) as replay,
    ):
        assert subscriber.wait_connected(10)
        republish(replay, publisher, threading.Event())
        assert len(list(subscriber)) == 3
        assert subscriber.missed[wire.FRAME] == 1
