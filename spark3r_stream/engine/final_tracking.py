"""Pictures of tracked frames, kept until the run's end: then they are tracked once more, on what is known by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.models.preprocess import StreamResize
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.retracking import KnownKeyframe, retracked
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.map_parts import Submaps
from spark3r_stream.engine.submap import Submap
from spark3r_stream.thinned import Thinned
from spark3r_stream.wire.messages import PathCorrection

Array = NDArray[np.float64]

MOST_FRAMES = 2000  # whose pictures are kept, 27 kB each, spread over the run; the others follow them
MOST_KEYFRAMES = 256  # with depth from several views that came while the run went on, the newest


class _Seen(NamedTuple):
    frame_id: int
    keyframe_id: int
    key_from_camera: Array
    time_s: float
    grey: NDArray[np.uint8]


class FinalTracking:
    """Of one run, on the tracking thread."""

    def __init__(self) -> None:
        self._seen: Thinned[_Seen] = Thinned(MOST_FRAMES)
        self._depths: dict[int, DenseDepth] = {}

    def tracked(self, frame: TrackedFrame, time_s: float, grey: NDArray[np.uint8]) -> None:
        """grey: (H, W) at the tracker's size."""
        self._seen.add(_Seen(frame.frame_id, frame.keyframe_id, frame.key_from_camera, time_s, grey))

    def refined(self, depths: Mapping[int, DenseDepth]) -> None:
        """Depth from several views, by keyframe."""
        self._depths.update(depths)
        for frame_id in sorted(self._depths)[:-MOST_KEYFRAMES]:
            del self._depths[frame_id]

    def finish(self, submaps: Submaps, depths: Mapping[int, DenseDepth], size: StreamResize) -> list[PathCorrection]:
        """Frames of the present map, tracked on the keyframes around them. depths: that came with the last adjustment.
        size: of the tracker's pictures."""
        known = {
            frame_id: keyframe
            for frame_id, depth in sorted({**self._depths, **depths}.items())
            if frame_id in submaps and (keyframe := KnownKeyframe.of(frame_id, depth, size)) is not None
        }
        around = _Around(known, np.array(sorted(submaps), np.int64), submaps)
        frames = [
            seen for seen in self._seen.items() if seen.keyframe_id in submaps and seen.grey.shape == size.image_hw
        ]
        poses = {
            seen.frame_id: submaps[seen.frame_id].part_from_submap.apply_to_poses(np.eye(4))
            for seen in frames
            if seen.frame_id in submaps
        }
        moved = np.eye(4)  # what the frame before moved by, which it shares with this one
        for seen in frames:
            if seen.frame_id in poses:  # a keyframe lies where the map has it
                continue
            as_tracked = submaps[seen.keyframe_id].part_from_submap.apply_to_poses(seen.key_from_camera)
            pose = around.retracked(seen, [as_tracked, se3.compose(moved, as_tracked)])
            if pose is not None:
                moved = se3.compose(pose, se3.invert(as_tracked))
                poses[seen.frame_id] = pose
        later: Array | None = None  # who was carried away is found from where he was recognised again
        for seen in reversed(frames):
            if seen.frame_id not in poses and later is not None:
                pose = around.retracked(seen, [later])
                if pose is not None:
                    poses[seen.frame_id] = pose
            later = poses.get(seen.frame_id)
        return [
            _on(submaps[seen.keyframe_id], seen.frame_id, poses[seen.frame_id])
            for seen in frames
            if seen.frame_id in poses
        ]


@dataclass(frozen=True)
class _Around:
    """Keyframes with known depth. order: frame ids of all keyframes, sorted: what lies beyond the next one is too far
    away to be tracked on, and pixels agree with many a pose from there."""

    known: Mapping[int, KnownKeyframe]
    order: NDArray[np.int64]
    submaps: Submaps

    def retracked(self, seen: _Seen, guesses: Sequence[Array]) -> Array | None:
        """(4, 4) of a frame in the present map, by the keyframes before and after it; None where it fits neither."""
        place = int(np.searchsorted(self.order, seen.frame_id))
        before = int(self.order[place - 1]) if place else None
        after = int(self.order[place]) if place < len(self.order) else None
        share = _share(
            seen.time_s, *(None if one is None else self.submaps[one].time_ns / 1e9 for one in (before, after))
        )
        pyramid = grey_levels(seen.grey)
        return retracked(pyramid, guesses, self._lying(before), self._lying(after), share)

    def _lying(self, frame_id: int | None) -> tuple[KnownKeyframe, Sim3] | None:
        keyframe = None if frame_id is None else self.known.get(frame_id)
        return None if keyframe is None else (keyframe, self.submaps[keyframe.frame_id].part_from_submap)


def _on(key: Submap, frame_id: int, part_from_camera: Array) -> PathCorrection:
    """A frame of that pose (4, 4) in the present map, as it is published on a submap."""
    on_submap = key.pose(key.part_from_submap.inverse().apply_to_poses(part_from_camera))
    return PathCorrection(frame_id, key.number, on_submap)


def _share(time_s: float, begin_s: float | None, end_s: float | None) -> float:
    """Of the time between two keyframes that has passed at `time_s`."""
    if begin_s is None or end_s is None or end_s <= begin_s:
        return 0.0
    return float(np.clip((time_s - begin_s) / (end_s - begin_s), 0, 1))
