"""Late joiners: the map so far, then the stream, without a gap and without a duplicate."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.errors import PublishError, VersionMismatch, WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import Snapshot, SnapshotKeeper, parse_reply
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.encode import encode_frame, encode_keyframe, encode_map_corrections, encode_path_corrections
from spark3r_stream.wire.messages import MapCorrection
from tests.helpers_wire import (
    SESSION,
    every_kind,
    failed_output,
    frames,
    make_keyframe,
    make_output,
    make_path_correction,
    make_sealer,
    raw_context,
)
from tests.stream.pubsub.receiving import ANY_PORT, WAIT_S


def request(major: int = wire.SCHEMA_MAJOR, **fields: object) -> bytes:
    return wire_pb2.SnapshotRequest(schema_major=major, request_id=b"q", **fields).SerializeToString()  # type: ignore[arg-type]


def ask(keeper: SnapshotKeeper, **fields: object) -> Snapshot:
    return parse_reply(keeper.reply(request(**fields), SESSION, {wire.FRAME: 5}))


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY_PORT, SESSION, snapshot=SnapshotKeeper()) as publisher:
        yield publisher


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_a_late_joiner_has_the_map_and_every_message_after_it(scheme: str, tmp_path: Path) -> None:
    endpoint = ANY_PORT if scheme == "tcp" else f"ipc://{tmp_path}/s"
    with Publisher(endpoint, SESSION, snapshot=SnapshotKeeper()) as publisher:
        sealer = make_sealer()
        batches = frames(sealer, range(8))
        for batch in batches[:5]:
            publisher.send(batch)
        publisher.send(sealer.seal(every_kind()[-2:]))
        with Subscriber(publisher.endpoint) as subscriber:
            snapshot = subscriber.join(WAIT_S)
            assert snapshot.session_id == SESSION
            assert snapshot.positions[wire.FRAME] == 5
            assert [pose.frame_id for pose in snapshot.trajectory] == [0, 1, 2, 3, 4]
            for i, pose in enumerate(snapshot.trajectory):
                np.testing.assert_allclose(pose.world_from_camera, make_output(i).result.world_from_camera, atol=1e-12)
            sent = np.concatenate([make_output(i).points for i in range(5)])
            np.testing.assert_array_equal(snapshot.clouds[3].points, sent)
            assert snapshot.corrections[3].revision == 5
            assert snapshot.points_left_out == 0
            for batch in batches[5:]:
                publisher.send(batch)
            expected = [message for batch in batches[5:] for message in batch]
            assert [subscriber.poll(WAIT_S) for _ in expected] == expected
            assert sum(subscriber.missed.values()) == 0


def test_joining_a_running_stream_loses_and_repeats_nothing(publisher: Publisher) -> None:
    """Whatever the interleaving: trajectory, then messages, give each frame exactly once."""
    stop = threading.Event()

    def flood() -> None:
        sealer, pause, i = make_sealer(), threading.Event(), 0
        while not stop.is_set():
            publisher.send(frames(sealer, [i], points=2000)[0])
            pause.wait(0.001)
            i += 1

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(8):
            with Subscriber(publisher.endpoint, [wire.FRAME]) as subscriber:
                ids = [pose.frame_id for pose in subscriber.join(WAIT_S).trajectory]
                for _ in range(20):
                    message = subscriber.poll(WAIT_S)
                    assert message is not None
                    ids.append(message.envelope.frame_id)
                assert ids == list(range(len(ids)))
                assert subscriber.missed[wire.FRAME] == 0
    finally:
        stop.set()
        thread.join()


def test_what_better_depth_has_replaced_was_not_left_out() -> None:
    keeper = SnapshotKeeper()
    for points in (40, 30, 30):  # one keyframe three times
        for batch in frames(make_sealer(), range(1), points=points):
            for message in batch:
                keeper.add(message)
    snapshot = ask(keeper)
    assert len(snapshot.clouds[3].points) == 30
    assert snapshot.points_left_out == 0


def test_bounds_hold_and_what_is_left_is_spread_evenly() -> None:
    keeper = SnapshotKeeper(max_points=1000, max_poses=40)
    for batch in frames(make_sealer(), range(150), points=40):
        for message in batch:
            keeper.add(message)
    snapshot = ask(keeper)
    ids = [pose.frame_id for pose in snapshot.trajectory]
    assert 20 <= len(ids) <= 40
    assert len(set(np.diff(ids))) == 1
    kept = len(snapshot.clouds[3].points)
    assert 250 <= kept <= 1000
    assert snapshot.points_left_out == 150 * 40 - kept
    first = {tuple(point) for i in range(50) for point in make_output(i, points=40).points.tolist()}
    share = sum(tuple(point) in first for point in snapshot.clouds[3].points.tolist()) / kept
    assert 0.25 < share < 0.42, "a third of the points are of the first third of the run"
    fewer = ask(keeper, max_points=100)
    assert len(fewer.clouds[3].points) <= 100
    assert fewer.points_left_out == 150 * 40 - len(fewer.clouds[3].points)


def test_a_run_of_more_frames_than_points_may_be_kept_goes_on_and_stays_bounded() -> None:
    keeper = SnapshotKeeper(max_points=300, max_poses=40)
    for batch in frames(make_sealer(), range(600)):
        for message in batch:
            keeper.add(message)
    snapshot = ask(keeper)
    kept = len(snapshot.clouds[3].points)
    assert 100 <= kept <= 300
    assert sum(map(len, keeper._clouds.values())) <= 256
    assert snapshot.points_left_out == 600 * 5 - kept


def test_failed_frames_and_old_corrections_are_not_in_it() -> None:
    keeper = SnapshotKeeper()
    corrections = [encode_map_corrections([MapCorrection(7, revision, Sim3())], 0)[0] for revision in (1, 2)]
    for message in make_sealer().seal([*encode_frame(failed_output(9)), *corrections]):
        keeper.add(message)
    snapshot = ask(keeper)
    assert snapshot.trajectory == []
    assert snapshot.clouds == {}
    assert {submap: correction.revision for submap, correction in snapshot.corrections.items()} == {7: 2}


def test_frames_that_were_tracked_once_more_lie_where_they_were_found_then() -> None:
    keeper = SnapshotKeeper()
    for batch in frames(make_sealer(), range(5)):
        for message in batch:
            keeper.add(message)
    again = [make_path_correction(3), make_path_correction(99)]
    for message in make_sealer().seal(encode_path_corrections(again, 0)):
        keeper.add(message)
    lies = {pose.frame_id: pose.world_from_camera for pose in ask(keeper).trajectory}
    assert sorted(lies) == list(range(5)), "a frame that nobody knew is none"
    np.testing.assert_allclose(lies[3], again[0].submap_from_camera, atol=1e-12)
    np.testing.assert_allclose(lies[2], make_output(2).result.world_from_camera, atol=1e-12)


def test_a_new_session_starts_an_empty_map(publisher: Publisher) -> None:
    publisher.send(frames(make_sealer(), [0])[0])
    other = uuid.uuid4()
    publisher.send(frames(make_sealer(other), [5])[0])
    with Subscriber(publisher.endpoint) as subscriber:
        snapshot = subscriber.join(WAIT_S)
        assert snapshot.session_id == subscriber.session_id == other
        assert [pose.frame_id for pose in snapshot.trajectory] == [5]


def test_without_a_snapshot_the_error_says_so() -> None:
    with (
        Publisher(ANY_PORT, SESSION) as publisher,
        Subscriber(publisher.endpoint) as subscriber,
        pytest.raises(WireError, match="keeps no snapshot"),
    ):
        subscriber.join(WAIT_S)
    with Subscriber("tcp://127.0.0.1:1") as subscriber, pytest.raises(WireError, match=r"within 0\.05 s"):
        subscriber.join(0.05)


def test_the_next_port_taken_is_one_clear_error() -> None:
    with Publisher(ANY_PORT, SESSION) as free:
        port = int(free.endpoint.rpartition(":")[2])
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", port + 1))
        except OSError:
            pytest.skip("the port beside a free one is taken")
        taken.listen()
        with pytest.raises(PublishError, match=f":{port + 1} is in use"):
            Publisher(f"tcp://127.0.0.1:{port}", SESSION, snapshot=SnapshotKeeper())
        with Publisher(ANY_PORT, SESSION, snapshot=SnapshotKeeper()):
            pass


def test_strangers_may_ask_anything(publisher: Publisher) -> None:
    publisher.send(frames(make_sealer(), [0])[0])
    with raw_context() as context:
        rude = context.socket(zmq.DEALER)
        rude.connect(endpoints.snapshot_address(publisher.endpoint))
        rude.send_multipart([b"a", b"b"])  # not one part: no answer
        rude.send(b"\xff\xff")
        assert wire_pb2.SnapshotReply.FromString(rude.recv()).error == "not a SnapshotRequest"
        rude.send(request(major=9))
        assert f"speaks {wire.SCHEMA_MAJOR}.x" in wire_pb2.SnapshotReply.FromString(rude.recv()).error
        rude.send(request(max_points=2**32 - 1))
        reply = wire_pb2.SnapshotReply.FromString(rude.recv())
        assert (reply.error, reply.request_id, len(reply.trajectory)) == ("", b"q", 1)
        rude.send(bytes(1 << 20))  # beyond the limit: hung up on, and reconnected
    with Subscriber(publisher.endpoint) as subscriber:
        assert len(subscriber.join(WAIT_S).trajectory) == 1


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_reply_raises_nothing_but_wire_errors(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(REPLY)))
    stop = data.draw(st.integers(start, min(len(REPLY), start + 8)))
    with contextlib.suppress(WireError):
        parse_reply(REPLY[:start] + data.draw(st.binary(max_size=8)) + REPLY[stop:])


def test_another_version_and_a_refusal_are_told() -> None:
    reply = wire_pb2.SnapshotReply(schema_major=wire.SCHEMA_MAJOR + 1, session_id=SESSION.bytes)
    with pytest.raises(VersionMismatch):
        parse_reply(reply.SerializeToString())
    with pytest.raises(WireError, match="refused a snapshot: because"):
        parse_reply(
            wire_pb2.SnapshotReply(
                schema_major=wire.SCHEMA_MAJOR, session_id=SESSION.bytes, error="because"
            ).SerializeToString()
        )


def _sample_reply() -> bytes:
    keeper = SnapshotKeeper()
    for message in make_sealer().seal(every_kind()):
        keeper.add(message)
    return keeper.reply(request(), SESSION, {wire.FRAME: 1})


REPLY = _sample_reply()


def test_a_better_cloud_of_a_keyframe_replaces_the_first() -> None:
    keeper, sealer = SnapshotKeeper(), make_sealer()
    first, better = make_keyframe(points=40), make_keyframe(points=30)
    better = replace(better, points=better.points + np.float32(5))
    for keyframe in (first, better):
        for message in sealer.seal(encode_keyframe(keyframe)):
            keeper.add(message)
    (cloud,) = ask(keeper).clouds.values()
    np.testing.assert_array_equal(cloud.points, better.points)
