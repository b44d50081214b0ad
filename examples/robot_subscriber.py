"""Where am I, and how far is the nearest thing ahead? A robot's side of a running stream; needs no torch.

    spark3r run synthetic:room --publish tcp://127.0.0.1:5555       # in another terminal
    python examples/robot_subscriber.py tcp://127.0.0.1:5555

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
from spark3r_stream.wire.messages import Cloud, FrameResult, SessionState, Status, TrackingState

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


def described(frame: FrameResult, clouds: dict[str, Cloud]) -> str:
    """Where the camera is in its submap, and what is known to be ahead of it."""
    pose = frame.world_from_camera
    if frame.state is TrackingState.LOST or pose is None:
        return f"{frame.state.name}: do not steer by this"
    cloud, ahead = clouds.get(frame.frame_name), "unknown"
    if cloud is not None:
        distance = nearest_ahead(se3.invert(pose), cloud.points)
        ahead = "nothing" if distance is None else f"{distance:.2f} {frame.unit.name.lower()} units"
    x, y, z = pose[:3, 3]
    return f"in {frame.frame_name} at [{x:+.2f} {y:+.2f} {z:+.2f}]  ahead: {ahead}"


def follow(subscriber: Subscriber) -> int:
    """Keyframes bring the points, in the frame of reference `submap_<k>`; every frame says where it is in one."""
    clouds: dict[str, Cloud] = {}  # the newest of each submap
    for message in subscriber:
        content = decode(message)
        if isinstance(content, FrameResult):
            print(f"frame {content.frame_id}  {described(content, clouds)}", flush=True)
        elif isinstance(content, Cloud):
            clouds[content.frame_name] = content
            if len(clouds) > KEPT_CLOUDS:
                del clouds[next(iter(clouds))]
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
    given = parser.parse_args()
    try:
        security = ClientSecurity.from_directory(given.keys, given.server_key) if given.keys else None
        topics = ["/frame/", "/cloud/", "/status/"]
        with Subscriber(given.endpoint, topics, SILENCE_S, security=security) as subscriber:
            subscriber.wait_connected()  # for as long as it takes: the robot may be up before its camera is
            return follow(subscriber)
    except StreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
