"""The path as the final map has it: every frame on its keyframe, between keyframes relaxed.

Frames are kept on the submap they were tracked on. A correction moves submaps; the frames between two keyframes were
off by their share of what the later one moved against the earlier (`spark3r_core.geometry.relaxed`). Frames that were
tracked once more in the end (`spark3r_core.stream.retracking`) lie where that has them, and those between two such
frames follow them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.relaxed import following, handed_over, relaxed
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.trajectory import Trajectory


class _Posed(NamedTuple):
    submap: int
    time_ns: int
    frame_id: int
    submap_from_camera: NDArray[np.float64]


class _Begun(NamedTuple):
    frame_id: int
    tracked_submap: int | None


class FinalPath:
    """Poses of a run with their submaps; one entry per frame, some hundred bytes each."""

    def __init__(self) -> None:
        self._poses: list[_Posed] = []
        self._begun: dict[int, _Begun] = {}
        self._retracked: dict[int, NDArray[np.float64]] = {}

    @property
    def has_keyframes(self) -> bool:
        return bool(self._begun)

    def add(self, submap: int, time_ns: int, submap_from_camera: NDArray[np.float64], frame_id: int) -> None:
        self._poses.append(_Posed(submap, time_ns, frame_id, submap_from_camera))

    def begin(self, submap: int, frame_id: int, tracked_submap: int | None) -> None:
        """A submap begins at a keyframe that was tracked on another one, or on none."""
        self._begun[submap] = _Begun(frame_id, tracked_submap)

    def retrack(self, frame_id: int, submap_from_camera: NDArray[np.float64]) -> None:
        """A frame that was added lies so (4, 4) on its submap, better known now."""
        self._retracked[frame_id] = submap_from_camera

    def final(self, map_from_submap: Callable[[int], Sim3]) -> Trajectory:
        """All frames in the map, in the order in which they came."""
        placed = np.zeros((len(self._poses), 4, 4))
        rows: dict[int, list[int]] = {}
        row_of_frame = {}
        for row, posed in enumerate(self._poses):
            rows.setdefault(posed.submap, []).append(row)
            row_of_frame[posed.frame_id] = row
        ends = {submap: row_of_frame.get(begun.frame_id) for submap, begun in self._begun.items()}
        next_submap = {
            begun.tracked_submap: submap
            for submap, begun in sorted(self._begun.items(), reverse=True)
            if begun.tracked_submap is not None
        }
        for submap, own in sorted(rows.items(), reverse=True):  # what a submap runs into is placed before it
            poses = np.stack([self._poses[row].submap_from_camera for row in own])
            here = map_from_submap(submap)
            after = next_submap.get(submap)
            first, last = ends.get(submap), None if after is None else ends[after]
            if after is not None and first is not None and last is not None:
                adjusted = here.inverse().apply_to_poses(map_from_submap(after).apply_to_poses(np.eye(4)))
                times = np.array([self._poses[row].time_ns for row in own]) / 1e9
                begin_s, end_s = self._poses[first].time_ns / 1e9, self._poses[last].time_ns / 1e9
                poses = relaxed(poses, times, begin_s, end_s, self._poses[last].submap_from_camera, adjusted)
                next_row = next((row for row in rows.get(after, ()) if row > own[-1]), None)
                if next_row is not None:
                    met = here.inverse().apply_to_poses(placed[next_row])
                    poses = handed_over(poses, times, end_s, adjusted, self._poses[next_row].time_ns / 1e9, met)
            placed[own] = here.apply_to_poses(poses)
        times_ns = np.array([posed.time_ns for posed in self._poses], np.int64)
        known = [row for row, posed in enumerate(self._poses) if posed.frame_id in self._retracked]
        if known:
            lies = [
                map_from_submap(posed.submap).apply_to_poses(self._retracked[posed.frame_id])
                for posed in (self._poses[row] for row in known)
            ]
            placed = following(placed, times_ns / 1e9, np.array(known), np.stack(lies))
        return Trajectory(times_ns, placed)
