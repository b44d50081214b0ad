"""Where am I, how far is the nearest thing ahead, and is it time to stop? A robot's side of a stream; needs no torch.

    spark3r run "synthetic:room?seed=3&tag=0.3&tag_at=20" --tag 36h11:0.3 --publish tcp://127.0.0.1:5555
    python examples/robot_subscriber.py tcp://127.0.0.1:5555       # in another terminal

It says go or stop once the stream is in metres (docs/metres.md): nobody can drive by a network's guess of a length.

For a publisher on another machine: --keys DIR --server-key FILE (docs/security.md).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from spark3r_core.geometry import se3
from spark3r_stream import Subscriber, decode
from spark3r_stream.errors import StreamError
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.wire.messages import (
    Cloud,
    FrameResult,
    LengthUnit,
    MapCorrections,
    SessionState,
    Status,
    TrackingState,
    submap_frame,
)

SILENCE_S = 3.0  # a status comes every second, so this long without anything means: the publisher is gone
CONE_COS = np.cos(np.radians(15.0))  # "ahead": this close to the optical axis
STRAY_PERCENT = 2.0  # the nearest few points may be noise
KEPT_CLOUDS = 8  # a keyframe's points come before the frames that are tracked on it; older ones do not come back


def nearest_ahead(camera_from_world: np.ndarray, points: np.ndarray) -> float | None:
    """Distance to the nearest of `points` (n, 3) in a cone around the viewing direction, in the stream's unit."""
    ahead = se3.transform_points(camera_from_world, points)
    distance = np.linalg.norm(ahead, axis=1)
    distance = distance[(ahead[:, 2] > CONE_COS * distance) & (distance > 0)]
    return float(np.percentile(distance, STRAY_PERCENT)) if len(distance) else None


class Surroundings:
    """What the stream has said of what is around: points by submap, and how long a submap's unit is."""

    def __init__(self, stop_m: float) -> None:
        self.stop_m = stop_m
        self._clouds: dict[str, Cloud] = {}  # the newest of each submap
        self._scales: dict[str, float] = {}

    def add(self, content: Cloud | MapCorrections) -> None:
        if isinstance(content, MapCorrections):
            self._scales.update((submap_frame(one.submap), one.map_from_submap.scale) for one in content.corrections)
            return
        self._clouds[content.frame_name] = content
        if len(self._clouds) > KEPT_CLOUDS:
            del self._clouds[next(iter(self._clouds))]

    def described(self, frame: FrameResult) -> str:
        """Where the camera is in its submap, what is known to be ahead of it, and what to do."""
        pose = frame.world_from_camera
        if frame.state is TrackingState.LOST or pose is None:
            return f"{frame.state.name}: do not steer by this -> stop"
        cloud, is_metric = self._clouds.get(frame.frame_name), frame.unit is LengthUnit.METRE
        ahead, is_free = "unknown", False
        if cloud is not None:
            distance = nearest_ahead(se3.invert(pose), cloud.points)
            ahead = "nothing"
            if distance is not None and is_metric:
                distance *= self._scales.get(frame.frame_name, 1.0)  # a submap's unit, as metres
                ahead, is_free = f"{distance:.2f} m", distance > self.stop_m
            elif distance is not None:
                ahead = f"{distance:.2f} model units"
        x, y, z = pose[:3, 3]
        command = f" -> {'go' if is_free else 'stop'}" if is_metric else ""
        return f"in {frame.frame_name} at [{x:+.2f} {y:+.2f} {z:+.2f}]  ahead: {ahead}{command}"


def follow(subscriber: Subscriber, stop_m: float) -> int:
    """Keyframes bring the points, in the frame of reference `submap_<k>`; every frame says where it is in one."""
    around = Surroundings(stop_m)
    for message in subscriber:
        content = decode(message)
        if isinstance(content, FrameResult):
            print(f"frame {content.frame_id}  {around.described(content)}", flush=True)
        elif isinstance(content, Cloud | MapCorrections):
            around.add(content)
        elif isinstance(content, Status) and content.state in (SessionState.ENDED, SessionState.FAILED):
            print(f"the stream is over; messages lost on the way: {sum(subscriber.missed.values())}")
            return 0
    print(f"nothing for {SILENCE_S:g} s: stop", file=sys.stderr)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("--keys", type=Path, help="folder of this robot's keys")
    parser.add_argument("--server-key", help="public key of the publisher, or the file that holds it")
    parser.add_argument("--stop-at", type=float, default=0.5, help="metres before what is ahead")
    given = parser.parse_args()
    try:
        security = ClientSecurity.from_directory(given.keys, given.server_key) if given.keys else None
        topics = ["/frame/", "/cloud/", "/map_correction/", "/status/"]
        with Subscriber(given.endpoint, topics, SILENCE_S, security=security) as subscriber:
            subscriber.wait_connected()  # for as long as it takes: the robot may be up before its camera is
            return follow(subscriber, given.stop_at)
    except StreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
