"""The viewer against a real publisher and viser's real server; what the page holds is read from that server."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.clock import SystemClock
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.replay import Replay
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.viewer.web_page import WebPage
from spark3r_stream.viewer.web_viewer import WebViewer
from spark3r_stream.wire.encode import encode_map_corrections, encode_status
from spark3r_stream.wire.envelope import CLOUD, DEPTH_CALIB, FRAME, MAP_CORRECTION, STATUS, Sealer
from spark3r_stream.wire.messages import MapCorrection, SessionState, Status
from tests.stream.viewer.scenes import BLUE, RED, SIZE, keyframe_messages, place

pytest.importorskip("viser")

TOPICS = [FRAME, DEPTH_CALIB, CLOUD, MAP_CORRECTION, STATUS]
WAIT_S = 20.0


@contextlib.contextmanager
def viewing(publisher: Publisher) -> Iterator[WebViewer]:
    """A viewer that gets all that is sent from now on."""
    endpoint = publisher.endpoint
    with contextlib.closing(WebPage(("127.0.0.1", 0), "test")) as page, Subscriber(endpoint, TOPICS) as subscriber:
        viewer = WebViewer(subscriber, page, endpoint)
        until(viewer, lambda: subscriber.connected)
        viewer.feed.take(0.05)  # takes the map so far
        yield viewer


def until(viewer: WebViewer, what: Callable[[], bool]) -> None:
    """Run the viewer's loop by hand."""
    deadline_s = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline_s
        viewer.feed.take(0.05, wait_s=0.05)
        viewer.refresh()


def node(viewer: WebViewer, name: str) -> object:
    return viewer._page._server.scene.get_handle_by_name(name)


def drawn(viewer: WebViewer) -> dict[int, int]:
    """Points of each node on the page."""
    return {slot: len(handle.points) for slot, handle in viewer._page._slots.items()}


def is_settled(viewer: WebViewer) -> bool:
    """Whether nothing on the page changes for a while."""

    def now() -> list[tuple[int, float]]:
        return [(len(handle.points), handle.point_size) for handle in viewer._page._slots.values()]

    before = now()
    for _ in range(4):
        time.sleep(0.1)
        viewer.refresh()
    return now() == before


def text(viewer: WebViewer) -> str:
    return str(viewer._page._text.content)


def send(publisher: Publisher, sealer: Sealer, submap: int, colour: tuple[int, int, int] = RED) -> None:
    publisher.send(sealer.seal([*keyframe_messages(submap, colour), encode_status(Status(SessionState.RUNNING), 1)]))
    assert publisher.wait_sent(WAIT_S)


def start(snapshot: bool = True, session: uuid.UUID | None = None, endpoint: str = "tcp://127.0.0.1:*") -> tuple:
    session = session or uuid.uuid4()
    publisher = Publisher(endpoint, session, snapshot=SnapshotKeeper() if snapshot else None)
    return publisher, Sealer(session, time.time_ns)


def test_a_stream_is_drawn_and_a_correction_moves_its_nodes() -> None:
    publisher, sealer = start()
    with publisher, viewing(publisher) as viewer:
        send(publisher, sealer, 0)
        send(publisher, sealer, 1, BLUE)
        until(viewer, lambda: len(drawn(viewer)) == 2 and "TRACKING" in text(viewer))
        page, moved = viewer._page, node(viewer, "/map/0001")
        assert (moved.colors == BLUE).all()
        np.testing.assert_allclose(moved.position, place(1).translation)
        assert (page._picture.image == BLUE).all()
        assert page._picture.visible
        assert page._camera.visible
        assert page._camera.position[0] == pytest.approx(0.5 + 0.04)
        np.testing.assert_allclose(page._keyframe.position, place(1).translation)
        sent = moved.points
        turned = Sim3(2.0, np.diag([-1.0, 1, -1]), np.array([1.0, 2, 3]))
        publisher.send(sealer.seal(encode_map_corrections([MapCorrection(1, 2, turned)], 0)))
        until(viewer, lambda: node(viewer, "/map/0001").scale == 2.0)
        assert node(viewer, "/map/0001").points is sent, "no point was sent again"
        np.testing.assert_allclose(moved.position, [1, 2, 3])
        np.testing.assert_allclose(np.abs(moved.wxyz), [0, 0, 1, 0], atol=1e-9)
        np.testing.assert_allclose(page._lines["/path"].points[-1, 1], [1 - 2 * 0.04, 2, 3], atol=1e-6)
        assert page._camera.position[0] == pytest.approx(1 - 2 * 0.04)


def test_a_publisher_that_goes_and_another_that_comes() -> None:
    publisher, sealer = start()
    with viewing(publisher) as viewer:
        send(publisher, sealer, 0)
        send(publisher, sealer, 1)
        until(viewer, lambda: len(drawn(viewer)) == 2)
        publisher.close()
        until(viewer, lambda: "NO SIGNAL" in text(viewer))
        assert len(drawn(viewer)) == 2, "the map stays"
        other, sealer = start(endpoint=publisher.endpoint)
        with other:
            send(other, sealer, 0, BLUE)
            until(viewer, lambda: list(drawn(viewer)) == [0] and (node(viewer, "/map/0000").colors == BLUE).all())
            other.send(sealer.seal([encode_status(Status(SessionState.RUNNING), 1)]))
            until(viewer, lambda: "NO SIGNAL" not in text(viewer) and "the 2nd since" in text(viewer))
            assert node(viewer, "/map/0001") is None


def test_one_that_comes_late_shows_the_map_so_far() -> None:
    publisher, sealer = start()
    with publisher:
        for submap in range(3):
            send(publisher, sealer, submap)
        with viewing(publisher) as viewer:
            until(viewer, lambda: len(drawn(viewer)) == 3)
            np.testing.assert_allclose(node(viewer, "/map/0002").position, place(2).translation)
            assert viewer.scene.num_poses == 9


def test_pause_holds_the_picture_and_loses_nothing() -> None:
    publisher, sealer = start()
    with publisher, viewing(publisher) as viewer:
        send(publisher, sealer, 0)
        until(viewer, lambda: len(drawn(viewer)) == 1)
        viewer._page._paused.value = True
        send(publisher, sealer, 1)
        until(viewer, lambda: len(viewer.scene.cloud_versions) == 2 and "PAUSED" in text(viewer))
        time.sleep(0.5)  # longer than the map waits between two times
        viewer.refresh()
        assert len(drawn(viewer)) == 1
        viewer._page._paused.value = False
        until(viewer, lambda: len(drawn(viewer)) == 2 and "PAUSED" not in text(viewer))


def test_the_sliders() -> None:
    publisher, sealer = start()
    with publisher, viewing(publisher) as viewer:
        for submap in range(20):
            send(publisher, sealer, submap)
        until(viewer, lambda: len(drawn(viewer)) == 20)
        before, page = sum(drawn(viewer).values()), viewer._page
        page._hidden.value = 50
        until(viewer, lambda: sum(drawn(viewer).values()) < 0.55 * before)
        until(viewer, lambda: is_settled(viewer))  # a node that is still to be thinned has another size then
        size = node(viewer, "/map/0003").point_size
        page._size.value = 2.0
        until(viewer, lambda: node(viewer, "/map/0003").point_size == pytest.approx(2 * size))
        page._hidden.value = 0
        page._budget.value = 50
        until(viewer, lambda: 0 < sum(drawn(viewer).values()) <= 50_000 and viewer.scene.max_points == 50_000)
        page._show_path.value = page._show_points.value = False
        until(viewer, lambda: not page._lines["/path"].visible and not page._map.visible)


def test_hundreds_of_keyframes_stay_in_the_budget_here_and_in_what_waits_for_pages() -> None:
    """viser keeps for pages to come what makes the present scene: as many bytes as that has, however long it ran."""
    publisher, sealer = start(snapshot=False)
    with publisher, viewing(publisher) as viewer:
        viewer._page._budget.value = 50
        kept = []
        for submap in range(120):
            send(publisher, sealer, submap)
            until(viewer, lambda: viewer.feed.frame is not None and viewer.feed.frame.submap == submap)  # noqa: B023
            if submap % 40 == 39:
                time.sleep(0.4)
                viewer.refresh()
                kept.append(bytes_kept(viewer))
                assert sum(drawn(viewer).values()) <= 50_000
        assert 120 * SIZE[0] * SIZE[1] > 10 * 50_000, "what came is many times the budget"
        assert kept[-1] < 1.2 * kept[0] < 4_000_000


def bytes_kept(viewer: WebViewer) -> int:
    messages = list(viewer._page._server._websock_server.get_message_buffer().message_from_id.values())
    arrays: list[object] = [value for message in messages for value in vars(message).values()]
    for message in messages:
        arrays += list(vars(getattr(message, "props", None) or object).values()) if hasattr(message, "props") else []
        arrays += list(getattr(message, "updates", {}).values())
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray)) + 200 * len(messages)


def test_it_ends_when_the_stream_is_over_and_nobody_looks() -> None:
    publisher, sealer = start()
    with publisher, viewing(publisher) as viewer:
        send(publisher, sealer, 0)
        until(viewer, lambda: len(drawn(viewer)) == 1)
        ended, stop = encode_status(Status(SessionState.ENDED), 1), threading.Event()
        publisher.send(sealer.seal([ended]))
        thread = threading.Thread(target=viewer.run, args=(stop, 0.5))
        thread.start()
        try:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        finally:
            stop.set()
            thread.join()
        assert viewer.feed.ended


def test_it_goes_on_while_the_stream_does() -> None:
    publisher, sealer = start()
    with publisher, viewing(publisher) as viewer:
        send(publisher, sealer, 0)
        until(viewer, lambda: len(drawn(viewer)) == 1)
        stop = threading.Event()
        thread = threading.Thread(target=viewer.run, args=(stop, 0.0))
        thread.start()
        thread.join(1.0)  # less than a publisher may be silent
        still_there = thread.is_alive()
        stop.set()
        thread.join()
        assert still_there


def test_a_recording_is_played_and_pause_holds_its_time(tmp_path: Path) -> None:
    path, times = tmp_path / "walls.mcap", iter(range(0, 1 << 60, 1_000_000))
    sealer = Sealer(uuid.uuid4(), lambda: next(times))
    with Recorder(path, {}, SystemClock()) as recorder:
        for submap in range(2):
            recorder.send(sealer.seal(keyframe_messages(submap)))
            next(itertools.islice(times, 900, None))  # most of a second
    with contextlib.closing(WebPage(("127.0.0.1", 0), "test")) as page, Replay(path, TOPICS) as replay:
        viewer = WebViewer(replay, page, str(path))
        page._paused.value = True
        viewer.refresh()
        for _ in range(30):
            viewer.feed.take(0.05, wait_s=0.05)
        assert viewer.scene.num_poses == 0, "as long as the whole recording"
        page._paused.value = False
        until(viewer, lambda: len(drawn(viewer)) == 2 and "ENDED" in text(viewer))
        assert "NO SIGNAL" not in text(viewer)


def test_a_surface_takes_the_place_of_the_points_until_they_are_wanted() -> None:
    with contextlib.closing(WebPage(("127.0.0.1", 0), "test")) as page:
        page.apply_settings()
        scene = page._server.scene
        assert scene.get_handle_by_name("/map").visible
        page.show_surface(b"glTF")
        page.apply_settings()
        surface = scene.get_handle_by_name("/surface")
        assert (surface.visible, scene.get_handle_by_name("/map").visible) == (True, False)
        page._show_surface.value, page._show_points.value = False, True
        page.apply_settings()
        assert (surface.visible, scene.get_handle_by_name("/map").visible) == (False, True)
