"""`spark3r view`: a window on a running stream or a recording, or a picture of it."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from spark3r_stream import wire
from spark3r_stream.errors import StreamError
from spark3r_stream.replay import Replay
from spark3r_stream.scene_map import SceneMap
from spark3r_stream.subscriber import Subscriber
from spark3r_stream.viewer.availability import require_installed
from spark3r_stream.viewer.feed import SceneFeed
from spark3r_stream.viewer.offscreen import render_png
from spark3r_stream.viewer.open3d_viewer import run_window

_TOPICS = (wire.FRAME, wire.CLOUD, wire.MAP_CORRECTION, wire.STATUS)


def view_command(source: str, offscreen: Path | None, seconds: float | None) -> int:
    """Exit code 0 when the window is closed or the picture is written; StreamError when nothing came to draw."""
    require_installed()  # before waiting for a stream that could not be shown
    is_recording = source.endswith(".mcap")
    with contextlib.ExitStack() as closing:
        if is_recording:
            speed = None if offscreen is not None else 1.0
            opened: Replay | Subscriber = closing.enter_context(Replay(Path(source), _TOPICS, speed=speed))
        else:
            opened = closing.enter_context(Subscriber(source, _TOPICS))
        if offscreen is None:
            run_window(opened, f"Spark3R-Stream: {source}")
            return 0
        scene = SceneMap()
        _collect(SceneFeed(opened, scene), seconds, is_recording)
    if scene.num_poses == 0:
        raise StreamError(f"{source} gave no poses to draw; is it running, or was it recorded with results?")
    render_png(scene, offscreen)
    print(f"{scene.num_poses} poses and {len(scene):,} points drawn into {offscreen}", file=sys.stderr)
    return 0


def _collect(feed: SceneFeed, seconds: float | None, is_recording: bool) -> None:
    """Take messages until the session or recording ends, or `seconds` have passed."""
    deadline_s = None if seconds is None else time.monotonic() + seconds
    while not feed.ended:
        left_s = 0.2 if deadline_s is None else min(0.2, deadline_s - time.monotonic())
        if left_s <= 0:
            return
        if feed.take(left_s, wait_s=left_s) == 0 and is_recording:
            return
