"""What is published of a run's map: keyframes numbered as submaps, where they lie, and their depth and points.

A correction of the mapper says where keyframes lie in the present map. Here it becomes where submaps lie among all maps
of the run, in the gauge that is published (`map_gauge.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.stream.dense_depth import LEAST_CONFIDENCE, DenseDepth
from spark3r_core.stream.map_update import KeyframeRequest, MapUpdate
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.frame_cloud import CloudConfig
from spark3r_stream.engine.map_gauge import MapGauge
from spark3r_stream.engine.map_parts import GivenUpMaps, Submaps
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.results import MapSize
from spark3r_stream.engine.submap import Submap
from spark3r_stream.engine.tracking_step import PublishFacts, Step, time_ns, time_s
from spark3r_stream.wire.messages import MapCorrection


class PublishedMap:
    """Of one run, on the tracking thread.

    submaps: of the present map, by the keyframe's frame id. next_number: of the submap to come. cloud: which points of
    a keyframe are published. loops: pairs of keyframes that were recognised as one place. max_bytes: of the map.
    """

    def __init__(self, gauge: MapGauge, cloud: CloudConfig, max_bytes: int | None, first_number: int = 0) -> None:
        self.submaps: Submaps = {}
        self.next_number = first_number
        self.cloud = cloud
        self.loops: list[tuple[int, int]] = []
        self._gauge = gauge
        self._max_bytes = max_bytes
        self._given_up = GivenUpMaps()

    def reopen(self, reopening: Reopening, begin_s: float, step: Step) -> None:
        """Go on in a saved map. begin_s: time of the run's first frame."""
        self.submaps = reopening.begin(begin_s)
        for metres in reopening.facts.metres:
            self._gauge.go_on_with(metres)
        self.next_number = reopening.next_number
        step.corrections += self._placed(self.submaps, "a saved map was opened")

    def add(
        self, request: KeyframeRequest, facts: PublishFacts, update: MapUpdate, camera: np.ndarray, step: Step
    ) -> None:
        """Number the keyframe's submap, make its depth and points, and say where submaps lie now. camera: (3, 3) of the
        pictures as known now."""
        keyframe = update.keyframe
        assert keyframe is not None
        self.submaps = self._given_up.follow(update, self.submaps, self._gauge)
        tracked_submap = facts.tracked_submap if update.found_by is None else self.submaps[update.found_by].number
        submap = Submap(
            self.next_number, request.frame_id, facts.frame.captured_ns, facts.frame.epoch, time_ns(facts.frame),
            tracked_submap,
        )  # fmt: skip
        self.next_number += 1
        self.submaps[request.frame_id] = submap
        self._gauge.mapped(keyframe, request.picture, facts.frame.picture_number, time_s(facts.frame))
        self._gauge.bent(update.bends)
        step.corrections += self._corrections(update, camera, "a keyframe was mapped")
        step.window = update.window
        self._measure(update, step)
        image, _ = request.sizes.for_network(request.picture)
        depth_camera = keyframe.depth_intrinsics
        step.keyframes.append(submap.output(self.cloud, image, keyframe.depth, keyframe.confidence, depth_camera))

    def refine(self, refined: dict[int, DenseDepth], step: Step) -> None:
        """Keyframes that are out already, once more, with their depth from several views."""
        for frame_id, dense in sorted(refined.items()):
            self._gauge.refined(frame_id, dense)
        self._publish_refined(refined, step)

    def settle(self, update: MapUpdate, camera: np.ndarray, step: Step) -> None:
        """After the last keyframe, all of them adjusted together."""
        self.submaps = self._given_up.follow(update, self.submaps, self._gauge)
        for frame_id, dense in sorted(update.refined.items()):
            self._gauge.refined(frame_id, dense)
        self._gauge.bent(update.bends)
        why = "all keyframes adjusted together"
        step.corrections += self._corrections(update, camera, why, at_end=True)
        step.corrections += self._given_up.moved(update.moved_beside, self._gauge, why)
        self._measure(update, step)
        self._publish_refined(update.refined, step)

    def begin_part(self, last_good: np.ndarray | None) -> None:
        """Another map begins, at the last confirmed camera (4, 4) of the map of all."""
        self._given_up.add(self.submaps, self._gauge)
        self._gauge.begin_part(last_good, self.submaps)
        self.submaps = {}

    def place_part(self, all_from_camera: np.ndarray, step: np.ndarray) -> None:
        """The map that has just begun does so at a camera (4, 4) and a step (4, 4) from there, in the map's unit."""
        step = step.copy()
        step[:3, 3] *= self._gauge.all_from_part.scale
        self._gauge.place_part(se3.compose(all_from_camera, step))

    def camera_in_all(self, tracked: TrackedFrame) -> np.ndarray:
        """(4, 4) in the map of all."""
        submap = self.submaps[tracked.keyframe_id]
        return submap.map_from_submap.apply_to_poses(submap.pose(tracked.key_from_camera))

    def _publish_refined(self, refined: dict[int, DenseDepth], step: Step) -> None:
        cloud = replace(self.cloud, least_confidence=LEAST_CONFIDENCE)
        for frame_id, dense in sorted(refined.items()):
            submap = self.submaps.get(frame_id)
            if submap is not None:  # else it could not be tracked on, and nobody has heard of it
                output = submap.output(cloud, dense.picture, dense.depth, dense.confidence, dense.intrinsics)
                step.refined.append(output)

    def _corrections(
        self, update: MapUpdate, camera: np.ndarray, reason: str, *, at_end: bool = False
    ) -> list[MapCorrection]:
        """Where submaps lie now that some moved; where the gauge changed, all of them."""
        self.loops += update.loops
        for frame_id, lies in update.moved.items():
            self.submaps[frame_id].part_from_submap = lies
        why = self._gauge.measure(self.submaps, camera, at_end=at_end)
        return self._placed(self.submaps if why else update.moved, why or reason)

    def _placed(self, frame_ids: Iterable[int], reason: str) -> list[MapCorrection]:
        corrections = []
        for frame_id in sorted(frame_ids):
            submap = self.submaps[frame_id]
            self._gauge.place(submap)
            corrections.append(self._gauge.correction(submap, reason))
        return corrections

    def _measure(self, update: MapUpdate, step: Step) -> None:
        before = 0 if step.map_size is None else step.map_size.dropped
        step.map_size = MapSize(update.map_bytes, self._max_bytes or 0, before + len(update.dropped))
