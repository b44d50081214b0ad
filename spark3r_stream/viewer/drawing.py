"""What a page has to be told after the map changed: pure bookkeeping, no browser and no graphics library.

Each submap that has points gets a slot, which is a node of the page's scene. A correction changes where a slot lies and
sends no point again. There are never more slots than the scene keeps clouds, and they are used again.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.viewer.scene_geometry import frustum_segments, path_segments, vertical_view

_SAMPLED = 64  # points of each slot that tell how large the scene is


class SlotCloud(NamedTuple):
    """New points of a slot, in its own frame. points: (n, 3) float32; colours: (n, 3) uint8; spacing: how close they
    may lie, so that those of a thinned cloud can be drawn larger."""

    slot: int
    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    spacing: float


class SlotPlace(NamedTuple):
    """Where a slot lies from now on."""

    slot: int
    map_from_slot: Sim3


class Changes(NamedTuple):
    """To be applied together.

    path: of the camera, and keyframes: as small frusta; segments in the map's frame, each (n, 2, 3) float32, or None
    where nothing changed.
    """

    clouds: list[SlotCloud]
    places: list[SlotPlace]
    emptied: list[int]
    path: NDArray[np.float32] | None
    keyframes: NDArray[np.float32] | None


class _Slot(NamedTuple):
    number: int
    drawn: tuple[int, float]  # version of the points, share of them that is hidden
    place: Sim3
    sample: NDArray[np.float32]


class Drawing:
    """Remembers what the page has been told; one per scene."""

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}  # by submap
        self._free: list[int] = []
        self._seen: tuple[int, float, float] | None = None
        self._keyframe_view: tuple[tuple[float, float], float] | None = None

    def update(self, scene: SceneMap, hidden_share: float, scene_size: float) -> Changes:
        """What changed since the last call.

        hidden_share: of each submap's points the least trusted, in [0, 1), that are not drawn: an absolute bound would
        mean something else for every network. scene_size: a length in the map, for the size of the keyframes.
        """
        if self._seen == (scene.version, hidden_share, scene_size):
            return Changes([], [], [], None, None)
        self._seen = (scene.version, hidden_share, scene_size)
        versions = scene.cloud_versions
        emptied = [self._slots.pop(submap).number for submap in sorted(self._slots.keys() - versions.keys())]
        for number in emptied:
            heapq.heappush(self._free, number)
        clouds, places = [], []
        for submap in sorted(versions):
            slot, place = self._slots.get(submap), scene.map_from_submap(submap)
            drawn = (versions[submap], hidden_share)
            if slot is None or slot.drawn != drawn:
                cloud = most_trusted(scene.submap_cloud(submap), hidden_share)
                number = self._new_number() if slot is None else slot.number
                clouds.append(SlotCloud(number, cloud.points, cloud.colours, scene.submap_spacing(submap)))
                sample = cloud.points[:: max(1, len(cloud.points) // _SAMPLED)][:_SAMPLED]
            else:
                number, sample = slot.number, slot.sample
            if slot is None or slot.place is not place:
                places.append(SlotPlace(number, place))
            self._slots[submap] = _Slot(number, drawn, place, sample)
        paths = np.concatenate(
            [path_segments(one) for one in scene.trajectories()] or [np.zeros((0, 2, 3), np.float32)]
        )
        still_emptied = [number for number in emptied if number in self._free]
        keyframes, view = None, (vertical_view(scene.camera), scene_size)
        if places or emptied or view != self._keyframe_view:  # not with each frame, as the path does
            self._keyframe_view = view
            poses = [slot.place.apply_to_poses(np.eye(4)) for slot in self._slots.values()]
            keyframes = frustum_segments(poses, scene.camera, scene_size / 60)
        return Changes(clouds, places, still_emptied, paths, keyframes)

    def sample(self) -> NDArray[np.float64]:
        """Some of the points drawn, in the map's frame (n, 3): enough to know where the scene is and how large."""
        parts = [slot.place.apply_to_points(slot.sample) for slot in self._slots.values()]
        return np.concatenate(parts) if parts else np.zeros((0, 3))

    def _new_number(self) -> int:
        return heapq.heappop(self._free) if self._free else len(self._slots)


def most_trusted(cloud: PointCloud, hidden_share: float) -> PointCloud:
    """`cloud` without that share of its points, the least trusted; in their order."""
    if hidden_share <= 0 or not len(cloud.points):
        return cloud
    return cloud.take(cloud.confidence >= np.quantile(cloud.confidence, hidden_share))
