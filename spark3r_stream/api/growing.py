"""The map of a run for `Run.map` and `Mapper.map`: a sink that keeps it, and hands out copies."""

from __future__ import annotations

from collections.abc import Sequence

from spark3r_stream.api.results import Map
from spark3r_stream.config import ConfigError
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.frame import Frame
from spark3r_stream.outputs.built_map import BuiltMap
from spark3r_stream.sources.base import Source


class GrowingMap:
    """Empty until `begin` and the first step."""

    def __init__(self, max_points: int) -> None:
        self._map = BuiltMap(max_points)
        self._own_times = False

    def begin(self, source: Source) -> None:
        self._own_times = source.info.has_own_times

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        for correction in result.corrections:
            self._map.correct(correction)
        for keyframe in result.keyframes:
            self._map.add_keyframe(keyframe)
        for keyframe in result.refined:
            self._map.refine_keyframe(keyframe)
        for one in result.retracked:
            self._map.retrack(one.frame_id, one.submap_from_camera)
        for output in result.outputs:
            self._map.add(output, output.result.time_ns(self._own_times))

    @staticmethod
    def taken(growing: GrowingMap | None) -> Map:
        """Raises ConfigError where none was kept."""
        if growing is None:
            raise ConfigError("this run keeps no map; leave keep_map=False away")
        cloud, path = growing._map.cloud(), growing._map.path()
        return Map(cloud.points, cloud.colours, cloud.confidence, path.time_ns / 1e9, path.world_from_camera)
