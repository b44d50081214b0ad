"""A film joined from two clips: how soon the second one is a map of its own, and whether the two are ever joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.wire.messages import TrackingState
from tools.evaluation.tracked_run import HeldSource, run_tracked, states_of

Pixels = NDArray[np.uint8]


def run_cut(model: Backbone, first: Path, second: Path, frames: int, size: int | None) -> dict[str, Any]:
    """Numbers of `frames` frames of one folder as in shared/data, and as many of another at the size of the first's.

    told_after: frames after the cut, of which so many are TRACKING in the first clip's map before one is not.
    own_map_after: those before the first with a pose in another map.
    """
    shown = _frames(first, frames)
    height, width = shown[0].shape[:2]
    shown += [np.asarray(cv2.resize(one, (width, height)), np.uint8) for one in _frames(second, frames)]
    engine = TrackingReconstructor(LocalMapper(model, MemoryConfig(max_new_frames=1)), size)
    run = run_tracked(HeldSource("two clips", shown), engine)
    engine.close()
    cut, parts = len(shown) - frames, run.collected.part_of
    later = [one for one in run.collected.results if one.frame_id >= cut]
    first_map = min(parts.values())
    believed = [one.state is TrackingState.TRACKING and parts[one.submap] == first_map for one in later]
    own = [one.frame_id - cut for one in later if one.valid and parts[one.submap] != first_map]
    return {
        "clips": [first.name, second.name],
        "frames": [cut, len(later)],
        "told_after": believed.index(False) if False in believed else None,
        "own_map_after": own[0] if own else None,
        "believed_in_the_first_map": sum(believed),
        "parts": len(set(parts.values())),
        "joined": sorted(pair for pair in set(engine.loops) if pair[0] < cut <= pair[1]),
        "states_after": states_of(later),
    }


def _frames(folder: Path, count: int) -> list[Pixels]:
    video = cv2.VideoCapture(str(folder / "video.mp4"))
    found: list[Pixels] = []
    while len(found) < count:
        ok, image = video.read()
        if not ok:
            raise SystemExit(f"error: {folder / 'video.mp4'} has {len(found)} frames; expected {count}")
        found.append(np.ascontiguousarray(image[:, :, ::-1]))
    return found
