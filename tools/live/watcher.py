"""A subscriber in a process of its own: `python -m tools.live.watcher ENDPOINT FILE`, one JSON line per frame.

Subscribes to everything, as a viewer does, and ends with the publisher's session. `pose` is where the frame lies in the
map as known when it came, 16 numbers by rows; null for a frame without a valid pose.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.messages import FrameResult, MapCorrections, SessionState, Status

SILENCE_S = 30.0  # a publisher says something every second


def watch(endpoint: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Records of all frames, and messages missed by topic."""
    placed: dict[int, Sim3] = {}
    records = []
    with Subscriber(endpoint, timeout_s=SILENCE_S) as subscriber:
        print("ready" if subscriber.wait_connected(SILENCE_S) else "not connected", flush=True)
        for message in subscriber:
            received_ns = time.time_ns()
            if message.topic not in (wire.FRAME, wire.MAP_CORRECTION, wire.STATUS):
                continue
            content = decode(message)
            if isinstance(content, MapCorrections):
                placed |= {one.submap: one.map_from_submap for one in content.corrections}
            elif isinstance(content, FrameResult):
                records.append(record_of(content, placed.get(content.submap, Sim3()), received_ns))
            elif isinstance(content, Status) and content.state in (SessionState.ENDED, SessionState.FAILED):
                break
        return records, {topic: count for topic, count in subscriber.missed.items() if count}


def record_of(frame: FrameResult, map_from_submap: Sim3, received_ns: int) -> dict[str, Any]:
    pose = None
    if frame.valid and frame.world_from_camera is not None:
        pose = map_from_submap.apply_to_poses(frame.world_from_camera).ravel().tolist()
    return {
        "frame_id": frame.frame_id,
        "captured_ns": frame.captured_ns,
        "published_ns": frame.published_ns,
        "received_ns": received_ns,
        "pts_ns": frame.pts_ns,
        "state": frame.state.name if frame.valid else "FAILED",
        "mapped": frame.mapped,
        "pose": pose,
        "focal": None if frame.camera is None else float(frame.camera.matrix[0, 0]),
    }


if __name__ == "__main__":
    found, missed = watch(sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps({"records": found, "missed": missed}))
