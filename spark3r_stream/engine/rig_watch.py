"""Cameras of one rig while they run: the poses of each are watched, and tell where their maps lie among each other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.rig import MOST_TURN_APART, RigFit, at_same_times, fit_rig
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.frame import Frame
from spark3r_stream.map.final_path import FinalPath
from spark3r_stream.wire.messages import TrackingState

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

MOST_GAP_NS = 200_000_000  # between frames of one camera that are interpolated
MOST_FRAMES = 2000  # of each that are compared, spread over the run
LEAST_FRAMES = 45  # before the first comparison
GROWTH = 1.1  # in frames, from one comparison to the next
LEAST_CHANGE = 0.01  # of the scale, in radians, or of the spread of positions: below it maps are left where they are

Relate = Callable[[int, int, Sim3, float], None]


class RigWatch:
    """rig_from_camera: (4, 4), metres, by the camera's number, of those on the rig. relate: told where the second
    camera's map lies in the first's, and the deviation of the logarithm of the scale, in the thread of one of them.

    The first camera of the rig that has a map is the one that others are compared with.
    """

    def __init__(self, rig_from_camera: Mapping[int, Array], names: Mapping[int, str], relate: Relate) -> None:
        self._rig, self._names, self._relate = dict(rig_from_camera), names, relate
        self._paths = {number: _Watched() for number in rig_from_camera}
        self._told: dict[int, Sim3] = {}  # in the first camera's map
        self._compared: dict[int, int] = {}  # how many frames there were
        self._warned: set[int] = set()
        self._guard = threading.Lock()

    @property
    def numbers(self) -> frozenset[int]:
        """Of the cameras that are on it."""
        return frozenset(self._rig)

    def sink(self, number: int) -> _RigSink:
        """What gets a camera's steps as they lie in its own map."""
        return _RigSink(self, number)

    def take(self, number: int, result: StepOutput) -> None:
        with self._guard:
            self._paths[number].take(result)
            self._compare(is_last=False)

    def finish(self) -> None:
        """After the last step of all."""
        with self._guard:
            self._compare(is_last=True)

    def _compare(self, *, is_last: bool) -> None:
        first, *others = sorted(self._rig)
        for other in others:
            count = min(self._paths[first].count, self._paths[other].count)
            compared = self._compared.get(other, 0)
            if compared > count:  # one of them has begun another map
                compared = 0
            if count < (LEAST_FRAMES if is_last else max(LEAST_FRAMES, GROWTH * compared)):
                continue
            self._compared[other] = count
            times, poses = self._paths[other].path()
            found = self._fit(first, other, times, poses)
            if found is None:
                continue
            if found.turn_apart > MOST_TURN_APART and other not in self._warned:
                self._warned.add(other)
                log.warning(
                    "%s and %s do not turn together: their orientations differ by %.0f degrees from what the rig says;"
                    " their maps are not joined by it",
                    self._names[first], self._names[other], np.degrees(found.turn_apart),
                )  # fmt: skip
            if found.is_known and (is_last or self._has_changed(other, poses, found.first_from_second)):
                self._told[other] = found.first_from_second
                log.info(
                    "%s lies in the map of %s by the rig, to %.1f %%",
                    self._names[other], self._names[first], 100 * found.std,
                )  # fmt: skip
                self._relate(first, other, found.first_from_second, found.std)

    def _fit(self, first: int, other: int, times: NDArray[np.int64], poses: Array) -> RigFit | None:
        """times, poses: of the other one's path."""
        here, there = at_same_times(*self._paths[first].path(), times, poses, MOST_GAP_NS)
        few = slice(None, None, max(1, len(here) // MOST_FRAMES))
        return fit_rig(here[few], there[few], self._rig[first], self._rig[other])

    def _has_changed(self, other: int, poses: Array, now: Sim3) -> bool:
        before = self._told.get(other)
        if before is None:
            return True
        change = before.inverse() @ now
        spread = float(np.std(poses[:, :3, 3], axis=0).max()) or 1.0
        middle = poses[:, :3, 3].mean(0)
        moved = float(np.linalg.norm(change.apply_to_points(middle) - middle)) / spread
        turned = float(rotation_angle(change.rotation))
        return max(abs(change.scale - 1), turned, moved) > LEAST_CHANGE


class _Watched:
    """A camera's frames in its present map, in the unit that it is mapped in, whatever it is published in."""

    def __init__(self) -> None:
        self._lies: dict[int, Sim3] = {}  # by submap, as published
        self._map_from_published = Sim3()
        self._begin()

    def _begin(self) -> None:
        self._path = FinalPath()
        self.count = 0

    def take(self, result: StepOutput) -> None:
        self._lies.update((one.submap, one.map_from_submap) for one in result.corrections)
        if result.gauge is not None:
            self._map_from_published = result.gauge.metres.published_from_map.inverse()
        for keyframe in result.keyframes:
            if keyframe.tracked_submap is None:  # what was before lies elsewhere
                self._begin()
            self._path.begin(keyframe.submap, keyframe.frame_id, keyframe.tracked_submap)
            self._lies.setdefault(keyframe.submap, keyframe.map_from_submap)
        for one in result.outputs:
            frame, pose = one.result, one.result.world_from_camera
            is_placed = frame.submap in self._lies
            if pose is not None and frame.valid and frame.state is TrackingState.TRACKING and is_placed:
                self._path.add(frame.submap, frame.captured_ns, pose, frame.frame_id)
                self.count += 1
        for again in result.retracked:
            self._path.retrack(again.frame_id, again.submap_from_camera)

    def path(self) -> tuple[NDArray[np.int64], Array]:
        """Times (N,) and map_from_camera (N, 4, 4)."""
        path = self._path.final(lambda submap: self._map_from_published @ self._lies[submap])
        order = np.argsort(path.time_ns, kind="stable")
        return path.time_ns[order], path.world_from_camera[order]


class _RigSink:
    def __init__(self, watch: RigWatch, number: int) -> None:
        self._watch, self._number = watch, number

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        self._watch.take(self._number, result)
