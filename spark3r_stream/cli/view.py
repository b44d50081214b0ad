"""`spark3r view`: a page for the browser, or a picture, of a running stream, a recording or a folder of results."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from spark3r_stream.cli.stop import Stop
from spark3r_stream.config import ConfigError
from spark3r_stream.errors import StreamError
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.outputs.ply import read_ply
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.replay import Replay
from spark3r_stream.running.targets import check_picture
from spark3r_stream.viewer.availability import require_installed, require_pictures
from spark3r_stream.viewer.feed import SceneFeed
from spark3r_stream.viewer.offscreen import render_png
from spark3r_stream.viewer.web_server import open_browser, serve_page
from spark3r_stream.viewer.web_viewer import WebViewer
from spark3r_stream.wire.envelope import CLOUD, DEPTH_CALIB, FRAME, MAP_CORRECTION, PATH_CORRECTION, STATUS

TOPICS = [FRAME, DEPTH_CALIB, CLOUD, MAP_CORRECTION, PATH_CORRECTION, STATUS]
OFFSCREEN_POINTS = 1_000_000
POLL_S = 0.25
REAL_TIME = 1.0
TITLE = "Spark3R-Stream"
REACHABLE = (
    "spark3r: note: other machines can reach that address. Who has it sees the map: it holds a token, and what is"
    " sent is not encrypted; on a network that you do not trust use an SSH tunnel to 127.0.0.1 instead"
)


class ResultFolder:
    """The map that `--out` left, as a source that has nothing to add."""

    def __init__(self, folder: Path) -> None:
        self._cloud, self._trajectory = read_ply(folder / "cloud.ply"), read_trajectory(folder / "trajectory.txt")
        self._mesh = folder / "mesh.glb"
        self.ended = True

    def fill(self, scene: SceneMap) -> None:
        scene.add_cloud(*self._cloud)
        for time_ns, pose in zip(self._trajectory.time_ns, self._trajectory.world_from_camera, strict=True):
            scene.add_pose(pose, int(time_ns))

    def surface(self) -> bytes | None:
        """The mesh that `--mesh` left, as glTF."""
        return self._mesh.read_bytes() if self._mesh.is_file() else None

    def poll(self, timeout_s: float | None = 0.0) -> None:
        time.sleep(timeout_s or 0.0)

    def pause(self) -> None:
        """Nothing moves."""

    def resume(self) -> None:
        """Nothing moves."""


def view_command(
    source: str,
    security: ClientSecurity | None = None,
    *,
    camera: str = "",
    offscreen: Path | None = None,
    seconds: float | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    opens_browser: bool = True,
    unwatched_s: float | None = None,
) -> int:
    """0 when a signal ended it, or the picture was written. camera: of a stream of several, the only one to show."""
    if offscreen is not None:
        return _draw(source, security, camera, offscreen, seconds)
    require_installed()
    stop = Stop()
    with (
        stop.on_signals(),
        _open(source, security, camera, REAL_TIME) as messages,
        serve_page(TITLE, host, port) as served,
    ):
        viewer = WebViewer(messages, served.page, source)
        if isinstance(messages, ResultFolder):
            messages.fill(viewer.scene)
            if (surface := messages.surface()) is not None:
                served.page.show_surface(surface)
        print(f"spark3r: the map is on {served.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        if not served.is_local:
            print(REACHABLE, file=sys.stderr, flush=True)
        if opens_browser:
            open_browser(served.url)
        viewer.run(stop.event, unwatched_s)
    return 0


def _draw(source: str, security: ClientSecurity | None, camera: str, picture: Path, seconds: float | None) -> int:
    require_pictures()  # before listening, which may take as long as the stream
    check_picture(picture, source)
    scene = SceneMap(OFFSCREEN_POINTS)
    with _open(source, security, camera, None) as messages:
        if isinstance(messages, ResultFolder):
            messages.fill(scene)
        feed = SceneFeed(messages, scene)
        end_s = time.monotonic() + (float("inf") if seconds is None else seconds)
        while not feed.ended and time.monotonic() < end_s:
            if feed.take(POLL_S, wait_s=POLL_S) == 0 and not isinstance(messages, Subscriber) and messages.ended:
                break
    if not len(scene):
        raise StreamError(f"no points came from {source}; nothing to draw")
    render_png(scene, picture)
    print(f"{len(scene):,} points, {scene.num_poses} poses: {cleaned(picture)}")
    return 0


def _open(
    source: str, security: ClientSecurity | None, camera: str, speed: float | None
) -> AbstractContextManager[Subscriber | Replay | ResultFolder]:
    """speed: of a recording, None as fast as it is taken."""
    if camera and (source.endswith(".mcap") or Path(source).is_dir()):
        raise ConfigError(f"--camera {camera} is about a running stream of several; {source} is of one")
    if source.endswith(".mcap"):
        return Replay(Path(source), TOPICS, speed=speed)
    if Path(source).is_dir():
        return nullcontext(ResultFolder(Path(source)))
    return Subscriber(source, TOPICS, camera=camera, security=security)
