"""The map of a run, grown from what its steps give: points by submap, and the path of all frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.map.final_path import FinalPath
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.outputs.confidence import AdaptiveThreshold
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput, MapCorrection


class BuiltMap:
    """Points of confident pixels, at most `max_points`, and one pose per valid frame, some hundred bytes each."""

    def __init__(self, max_points: int) -> None:
        self._scene = SceneMap(max_points)
        self._path = FinalPath()
        self._threshold = AdaptiveThreshold()

    @property
    def has_keyframes(self) -> bool:
        return self._path.has_keyframes

    def add(self, output: FrameOutput, time_ns: int) -> None:
        """One frame that came at `time_ns`; one without a valid pose leaves no trace."""
        result = output.result
        if not result.valid or result.world_from_camera is None:
            return
        self._path.add(result.submap, time_ns, result.world_from_camera, result.frame_id)
        self._scene.apply_correction(result.submap, output.map_from_submap, result.revision)
        if output.points is not None and output.colours is not None and output.point_confidence is not None:
            keep = self._threshold.keep(output.point_confidence)
            columns = (output.points, output.colours, output.point_confidence)
            points, colours, trust = (column[keep] for column in columns)
            self._scene.add_cloud(points, colours, trust, result.submap)

    def add_keyframe(self, keyframe: KeyframeOutput) -> None:
        """A mapped keyframe: its points join the map."""
        self._scene.apply_correction(keyframe.submap, keyframe.map_from_submap, keyframe.revision)
        self._path.begin(keyframe.submap, keyframe.frame_id, keyframe.tracked_submap)
        keep = self._threshold.keep(keyframe.point_confidence)
        points, colours, trust = keyframe.points[keep], keyframe.colours[keep], keyframe.point_confidence[keep]
        self._scene.add_cloud(points, colours, trust, keyframe.submap)

    def refine_keyframe(self, keyframe: KeyframeOutput) -> None:
        """A keyframe that was added before, with better depth: its points take the place of those."""
        self._scene.drop_cloud(keyframe.submap)
        self._scene.add_cloud(keyframe.points, keyframe.colours, keyframe.point_confidence, keyframe.submap)

    def retrack(self, frame_id: int, submap_from_camera: NDArray[np.float64]) -> None:
        """Where a frame that was added lies on its submap, (4, 4), better known now."""
        self._path.retrack(frame_id, submap_from_camera)

    def correct(self, correction: MapCorrection) -> None:
        """Where a submap lies from now on."""
        self._scene.apply_correction(correction.submap, correction.map_from_submap, correction.revision)

    def map_from_submap(self, submap: int) -> Sim3:
        """Where a submap lies now."""
        return self._scene.map_from_submap(submap)

    def cloud(self) -> PointCloud:
        """All points, in the map's frame."""
        return self._scene.cloud()

    def path(self) -> Trajectory:
        """Every frame as the map has it by now, relaxed between keyframes where there are any."""
        return self._path.final(self._scene.map_from_submap)
