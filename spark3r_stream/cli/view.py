"""`spark3r view`: a window, or a picture, of a running stream or of a recording."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path

from spark3r_stream.cli.targets import check_picture
from spark3r_stream.errors import StreamError
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.replay import Replay
from spark3r_stream.viewer.availability import require_installed
from spark3r_stream.viewer.feed import SceneFeed
from spark3r_stream.wire.envelope import CLOUD, FRAME, MAP_CORRECTION, STATUS

TOPICS = [FRAME, CLOUD, MAP_CORRECTION, STATUS]
OFFSCREEN_POINTS = 1_000_000
POLL_S = 0.25


def view_command(
    source: str, offscreen: Path | None, seconds: float | None, security: ClientSecurity | None = None
) -> int:
    """0 when the window was closed or the picture written."""
    require_installed()  # before listening, which may take as long as the stream
    recording = source.endswith(".mcap")
    if offscreen is not None:
        check_picture(offscreen, source)
    with _open(source, recording, offscreen is not None, security) as messages:
        if offscreen is None:
            from spark3r_stream.viewer.open3d_viewer import run_window

            run_window(messages, f"Spark3R-Stream: {source}")
            return 0
        scene = SceneMap(OFFSCREEN_POINTS)
        feed = SceneFeed(messages, scene)
        end_s = time.monotonic() + (float("inf") if seconds is None else seconds)
        while not feed.ended and time.monotonic() < end_s:
            if feed.take(POLL_S, wait_s=POLL_S) == 0 and isinstance(messages, Replay) and messages.ended:
                break
        if not len(scene):
            raise StreamError(f"no points came from {source}; nothing to draw")
        from spark3r_stream.viewer.offscreen import render_png

        render_png(scene, offscreen)
    print(f"{len(scene):,} points, {scene.num_poses} poses: {cleaned(offscreen)}")
    return 0


def _open(
    source: str, recording: bool, as_fast_as_possible: bool, security: ClientSecurity | None
) -> AbstractContextManager[Subscriber | Replay]:
    if recording:
        return Replay(Path(source), TOPICS, speed=None if as_fast_as_possible else 1.0)
    return Subscriber(source, TOPICS, security=security)
