"""Messages of a small map: a coloured wall in front of each keyframe."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.wire.encode import encode_frame, encode_keyframe, encode_map_corrections, encode_status
from spark3r_stream.wire.envelope import Message, Sealer, Unsealed
from spark3r_stream.wire.messages import (
    CameraView,
    FrameOutput,
    FrameResult,
    KeyframeOutput,
    MapCorrection,
    SessionState,
    Status,
)

SIZE = (60, 80)
FINE = (180, 240)
CAMERA = CameraView(np.array([[480.0, 0, 320], [0, 480.0, 240], [0, 0, 1]]), 640, 480)
RED, BLUE = (230, 40, 40), (40, 70, 230)


def place(submap: int, height: float = 0.0) -> Sim3:
    """Each keyframe half a unit beside the one before."""
    return Sim3(1.0, np.eye(3), np.array([0.5 * submap, -height, 0.0]))


def keyframe(submap: int, colour: tuple[int, int, int], size: tuple[int, int] = SIZE) -> KeyframeOutput:
    """A wall two units ahead that fills the picture of `size` (height, width)."""
    height, width = size
    camera = CameraView(np.array([[height, 0, width / 2], [0, height, height / 2], [0, 0, 1.0]]), width, height)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(size)], -1).reshape(-1, 3)
    points = (2.0 * pixels @ np.linalg.inv(camera.matrix).T).astype(np.float32)
    return KeyframeOutput(
        frame_id=10 * submap,
        submap=submap,
        captured_ns=10 * submap,
        epoch=0,
        revision=1,
        camera=camera,
        depth=np.full(size, 2, np.float32),
        confidence=np.ones(size, np.float32),
        image=np.zeros((*size, 3), np.uint8),
        points=points,
        colours=np.tile(np.array([*colour, 255], np.uint8), (len(points), 1)),
        point_confidence=np.linspace(0.1, 0.9, len(points), dtype=np.float32),
        map_from_submap=place(submap),
    )


def tracked(frame_id: int, submap: int, **fields: object) -> FrameOutput:
    result = FrameResult(
        frame_id,
        "s",
        epoch=0,
        submap=submap,
        captured_ns=frame_id,
        published_ns=0,
        world_from_camera=se3.exp([0.02 * (frame_id % 10), 0, 0, 0, 0, 0]),
        camera=CAMERA,
        keyframe_id=10 * submap,
    )
    return FrameOutput(replace(result, **fields), map_from_submap=place(submap))  # type: ignore[arg-type]


def keyframe_messages(
    submap: int, colour: tuple[int, int, int] = RED, frames: int = 3, size: tuple[int, int] = SIZE
) -> list[Unsealed]:
    """What is published when a keyframe is adopted, and the frames that are tracked on it."""
    followers = [tracked(10 * submap + index, submap) for index in range(frames)]
    return [
        *encode_map_corrections([MapCorrection(submap, 1, place(submap))], 0),
        *encode_keyframe(keyframe(submap, colour, size)),
        *(message for follower in followers for message in encode_frame(follower)),
    ]


def session(keyframes: int = 3, ends: bool = True, seed: int = 0) -> list[Message]:
    """A whole run, sealed."""
    unsealed = [message for submap in range(keyframes) for message in keyframe_messages(submap)]
    end = [encode_status(Status(SessionState.ENDED), 0)] if ends else []
    return Sealer(uuid.UUID(int=seed + 1), lambda: 1).seal([*unsealed, *end])
