"""A viewer that comes late, or comes back, shows the map so far and then what follows."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.viewer.feed import SceneFeed
from spark3r_stream.wire.encode import encode_map_corrections, encode_path_corrections
from spark3r_stream.wire.envelope import CLOUD, FRAME, MAP_CORRECTION, PATH_CORRECTION, Sealer
from spark3r_stream.wire.messages import MapCorrection, PathCorrection
from tests.helpers_wire import SESSION, frames, make_output, make_sealer

TOPICS = [FRAME, CLOUD, MAP_CORRECTION, PATH_CORRECTION]
WAIT_S = 10.0


@contextlib.contextmanager
def viewing(endpoint: str) -> Iterator[tuple[SceneFeed, Callable[[int], None]]]:
    """A feed on a subscriber, and a function that takes messages until the scene has so many poses."""
    with Subscriber(endpoint, TOPICS) as subscriber:
        feed = SceneFeed(subscriber, SceneMap())

        def take_until(poses: int) -> None:
            deadline_s = time.monotonic() + WAIT_S
            while feed.scene.num_poses < poses and time.monotonic() < deadline_s:
                feed.take(0.05, wait_s=0.05)
            assert feed.scene.num_poses == poses

        yield feed, take_until


def send(publisher: Publisher, sealer: Sealer, first: int, end: int) -> None:
    for batch in frames(sealer, range(first, end), points=200):
        publisher.send(batch)


def test_a_late_viewer_shows_each_frame_once() -> None:
    sealer = make_sealer()
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher:
        send(publisher, sealer, 0, 5)
        correction = MapCorrection(3, 6, Sim3(2.0, np.eye(3), np.zeros(3)))
        publisher.send(sealer.seal(encode_map_corrections([correction], 0)))
        assert publisher.wait_sent(WAIT_S)
        with viewing(publisher.endpoint) as (feed, take_until):
            take_until(5)
            assert feed.frame is None, "none has come yet: these are the snapshot's"
            assert feed.scene.map_from_submap(3).scale == 2.0
            send(publisher, sealer, 5, 8)
            take_until(8)
            shown = feed.scene.trajectory()
            expected = [make_output(i).result.world_from_camera[:3, 3] for i in range(8)]
            np.testing.assert_allclose(shown.centres, 2.0 * np.array(expected), atol=1e-9)
            live = SceneMap()
            for i in range(8):
                output = make_output(i, points=200)
                live.add_cloud(output.points, output.colours, output.point_confidence, 3)
            while feed.take(0.05, wait_s=0.2):
                pass
            assert 0.8 * len(live) < len(feed.scene) <= 8 * 200, "as fine as if it had been there from the start"


def test_frames_from_before_it_joined_are_corrected() -> None:
    """By the path of the final map, which comes at the end of a run."""
    sealer = make_sealer()
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher:
        send(publisher, sealer, 0, 5)
        assert publisher.wait_sent(WAIT_S)
        with viewing(publisher.endpoint) as (feed, take_until):
            take_until(5)
            moved = se3.make_pose(np.eye(3), np.array([7.0, 8.0, 9.0]))
            publisher.send(sealer.seal(encode_path_corrections([PathCorrection(2, 3, moved)], 0)))
            send(publisher, sealer, 5, 6)
            take_until(6)
            np.testing.assert_array_equal(feed.scene.trajectory().centres[2], [7.0, 8.0, 9.0])


def test_a_viewer_that_lost_its_connection_gets_what_it_missed() -> None:
    """The engine went on while nobody was connected, here as a second publisher of the same session."""
    sealer, keeper = make_sealer(), SnapshotKeeper()
    first = Publisher("tcp://127.0.0.1:*", SESSION, snapshot=keeper)
    with viewing(first.endpoint) as (feed, take_until):
        send(first, sealer, 0, 2)
        take_until(2)
        first.close()
        with Publisher(first.endpoint, SESSION, snapshot=keeper) as second:
            send(second, sealer, 2, 6)
            take_until(6)
            assert len(feed.scene.trajectory()) == 6


@pytest.mark.parametrize("snapshot", [True, False])
def test_a_viewer_that_was_there_first_misses_nothing(snapshot: bool) -> None:
    session = uuid.uuid4()
    keeper = SnapshotKeeper() if snapshot else None
    with (
        Publisher("tcp://127.0.0.1:*", session, snapshot=keeper) as publisher,
        viewing(publisher.endpoint) as (feed, take_until),
    ):
        while not publisher.subscribed(FRAME):
            feed.take(0.05, wait_s=0.05)
        send(publisher, make_sealer(session), 0, 4)
        take_until(4)
        assert len(feed.scene) > 0
