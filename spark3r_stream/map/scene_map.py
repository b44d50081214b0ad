"""The map as a subscriber sees it: clouds by submap, camera poses, and where the submaps lie. Bounded, no torch.

Points and poses are kept in the frame of their submap, so that a correction moves everything of a submap by changing
one similarity and touches no point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.map.voxel import VoxelCloud
from spark3r_stream.thinned import Thinned, most_crowded
from spark3r_stream.wire.decode import submap_number
from spark3r_stream.wire.messages import (
    CameraView,
    Cloud,
    Content,
    FrameResult,
    MapCorrections,
    PathCorrection,
    PathCorrections,
)

# First voxel edge over the spread of the first cloud: about the footprint of a pixel of a 252-pixel-wide network input.
_FIRST_VOXEL = 0.004
MAX_SUBMAPS = 16_384  # with points, and with a place; a publisher that numbers on without end fills no memory
_UNCORRECTED = Sim3.identity()


class _PoseRecord(NamedTuple):
    frame_id: int
    submap: int
    captured_ns: int
    submap_from_camera: NDArray[np.float64]
    camera: str


class SceneMap:
    """At most `max_points` points over all submaps, `max_clouds` (at least 2; None: MAX_SUBMAPS) submaps that have any
    and `max_poses` poses, thinned evenly beyond. Of more submaps than MAX_SUBMAPS the oldest go.

    version: grows with every change, so that a viewer knows when to draw. Not safe for several threads.
    """

    def __init__(self, max_points: int = 2_000_000, max_poses: int = 20_000, max_clouds: int | None = None) -> None:
        self.max_points = max(max_points, 8)
        self._max_poses = max_poses
        self._max_clouds = max_clouds
        self.version = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything: a publisher restarted and its new session has a gauge of its own."""
        self._clouds: dict[int, VoxelCloud] = {}
        self._cloud_versions: dict[int, int] = {}
        self._newest_cloud_ns: dict[int, int] = {}  # captured_ns: one that comes again takes the older one's place
        self._map_from_submap: dict[int, tuple[int, Sim3]] = {}  # revision, where it lies
        self._poses: Thinned[_PoseRecord] = Thinned(self._max_poses)
        self.camera: CameraView | None = None
        self.version += 1

    def add(self, content: Content, camera: str = "") -> None:
        """Take a decoded message; kinds that do not change the map are ignored. camera: the envelope's."""
        if isinstance(content, FrameResult) and content.valid and content.world_from_camera is not None:
            pose, frame_id = content.world_from_camera, content.frame_id
            self.add_pose(pose, content.captured_ns, content.submap, content.camera, camera, frame_id)
        elif isinstance(content, Cloud):
            submap = submap_number(content.frame_name)
            if self._newest_cloud_ns.get(submap) == content.captured_ns:
                self.drop_cloud(submap)
            self.note_cloud_time(submap, content.captured_ns)
            self.add_cloud(content.points, content.colours, content.confidence, submap)
        elif isinstance(content, MapCorrections):
            for correction in content.corrections:
                self.apply_correction(correction.submap, correction.map_from_submap, correction.revision)
        elif isinstance(content, PathCorrections):
            self._correct_path({one.frame_id: one for one in content.frames}, camera)

    def add_cloud(
        self,
        points: ArrayLike,
        colours: ArrayLike,
        confidence: ArrayLike,
        submap: int = 0,
        submap_from_points: ArrayLike | None = None,
    ) -> None:
        """Points (n, 3) in the submap's frame, or in the frame that the pose `submap_from_points` (4, 4) maps from.

        colours: (n, 3) RGB or (n, 4) RGBA uint8; confidence: (n,).
        """
        points = np.asarray(points)
        if submap_from_points is not None:
            points = se3.transform_points(submap_from_points, points)
        cloud = self._clouds.get(submap)
        if cloud is None:
            spread = _spread(points)
            if spread is None:  # nothing to take a scale from yet
                return
            if len(self._clouds) >= MAX_SUBMAPS:
                oldest = next(iter(self._clouds))
                del self._clouds[oldest], self._cloud_versions[oldest]
            cloud = self._clouds[submap] = VoxelCloud(self.max_points, _FIRST_VOXEL * spread)
        cloud.add(points, np.asarray(colours)[:, :3], confidence)
        self.version += 1
        self._cloud_versions[submap] = self.version
        self._keep_bound()

    def note_cloud_time(self, submap: int, captured_ns: int) -> None:
        """When the newest cloud of a submap was captured: a message of the same time takes its place."""
        self._newest_cloud_ns[submap] = captured_ns

    def drop_cloud(self, submap: int) -> None:
        """Forget a submap's points: better ones are to come."""
        if submap in self._clouds:
            self._drop_cloud(submap)
        self.version += 1

    def add_pose(
        self,
        submap_from_camera: ArrayLike,
        captured_ns: int,
        submap: int = 0,
        view: CameraView | None = None,
        camera: str = "",
        frame_id: int = -1,
    ) -> None:
        """A pose (4, 4) in its submap's frame. view: for the frustum of the newest pose. camera: its name, where there
        are several. frame_id: by which it may be corrected."""
        self._poses.add(_PoseRecord(frame_id, submap, captured_ns, np.array(submap_from_camera, np.float64), camera))
        self.camera = view or self.camera
        self.version += 1

    def _correct_path(self, corrected: Mapping[int, PathCorrection], camera: str) -> None:
        def where_it_lies(record: _PoseRecord) -> _PoseRecord:
            one = corrected.get(record.frame_id) if record.camera == camera else None
            return record if one is None else record._replace(submap_from_camera=one.submap_from_camera)

        self._poses.change(where_it_lies)
        self.version += 1

    def apply_correction(self, submap: int, map_from_submap: Sim3, revision: int) -> bool:
        """Move a submap. Returns False for a revision older than the one in force: messages may come late."""
        known = self._map_from_submap.get(submap)
        if known is not None and revision < known[0]:
            return False
        if known is None and len(self._map_from_submap) >= MAX_SUBMAPS:
            del self._map_from_submap[next(iter(self._map_from_submap))]
        self._map_from_submap[submap] = (revision, map_from_submap)
        self.version += 1
        return True

    def map_from_submap(self, submap: int) -> Sim3:
        """Where a submap lies now; the identity until a correction came."""
        known = self._map_from_submap.get(submap)
        return _UNCORRECTED if known is None else known[1]

    def limit_points(self, max_points: int) -> None:
        """Change the limit. What a lower one takes does not come back with a higher one."""
        self.max_points = max(max_points, 8)
        self.version += 1
        self._keep_bound()

    def __len__(self) -> int:
        return sum(len(cloud) for cloud in self._clouds.values())

    @property
    def cloud_versions(self) -> Mapping[int, int]:
        """The submaps that have points, each with a number that grows when its points change, not when it moves."""
        return self._cloud_versions

    def submap_cloud(self, submap: int) -> PointCloud:
        """The points of one of `cloud_versions`, in the submap's own frame."""
        return self._clouds[submap].cloud()

    def submap_spacing(self, submap: int) -> float:
        """How close its points may lie, in its own frame: grows when they are thinned."""
        return self._clouds[submap].voxel_size

    @property
    def num_poses(self) -> int:
        """Poses seen, those thinned away included."""
        return self._poses.count

    def cloud(self) -> PointCloud:
        """All points in the map's frame: (n, 3) float32, (n, 3) uint8, (n,) float32."""
        with np.errstate(over="ignore"):  # points that a hostile publisher puts beyond float32
            parts = [
                held._replace(points=self.map_from_submap(submap).apply_to_points(held.points).astype(np.float32))
                for submap, held in ((submap, cloud.cloud()) for submap, cloud in sorted(self._clouds.items()))
            ]
        if not parts:
            return PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
        return PointCloud(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def trajectory(self) -> Trajectory:
        """The kept poses and the newest one, oldest first, in the map's frame; of all cameras."""
        return self._placed(self._records())

    def trajectories(self) -> list[Trajectory]:
        """The same, one of each camera."""
        by_camera: dict[str, list[_PoseRecord]] = {}
        for record in self._records():
            by_camera.setdefault(record.camera, []).append(record)
        return [self._placed(records) for _, records in sorted(by_camera.items())]

    def _records(self) -> list[_PoseRecord]:
        records = self._poses.items()
        if self._poses.last is not None and records[-1] is not self._poses.last:
            records.append(self._poses.last)
        return records

    def _placed(self, records: list[_PoseRecord]) -> Trajectory:
        times = np.array([record.captured_ns for record in records], np.int64)
        poses = np.array([record.submap_from_camera for record in records], np.float64).reshape(-1, 4, 4)
        submaps = np.array([record.submap for record in records], np.int64)
        for submap in np.unique(submaps).tolist():  # at once for each: a viewer asks for thousands, often
            mine = submaps == submap
            poses[mine] = self.map_from_submap(submap).apply_to_poses(poses[mine])
        return Trajectory(times, poses)

    def newest_pose(self) -> NDArray[np.float64] | None:
        """Where the camera is now (4, 4), in the map's frame; None before the first pose."""
        last = self._poses.last
        return None if last is None else self.map_from_submap(last.submap).apply_to_poses(last.submap_from_camera)

    def _keep_bound(self) -> None:
        while self._max_clouds is not None and len(self._clouds) > self._max_clouds:
            self._drop_cloud(most_crowded(sorted(self._clouds)))
        if sum(cloud.most_points for cloud in self._clouds.values()) <= self.max_points:
            return  # without merging what waits
        while len(self) > self.max_points:
            largest = max(self._clouds, key=lambda submap: len(self._clouds[submap]))
            if len(self._clouds[largest]) > 8:
                self._clouds[largest].coarsen()
                self._cloud_versions[largest] = self.version
            else:  # very many tiny submaps: the oldest goes
                self._drop_cloud(min(self._clouds))

    def _drop_cloud(self, submap: int) -> None:
        del self._clouds[submap], self._cloud_versions[submap]


def _spread(points: np.ndarray) -> float | None:
    finite = points[np.all(np.isfinite(points), axis=1)].astype(np.float64)  # squares of float32 may not fit
    if not len(finite):
        return None
    distance = np.linalg.norm(finite - np.median(finite, axis=0), axis=1)
    spread = float(np.median(distance)) or float(distance.max())
    return spread if spread > 0 else None
