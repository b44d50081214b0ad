"""Frames in, results out, with a tracker in front: every frame is tracked at once, keyframes are mapped beside it.

The path of a frame: `process` → undistort and resize → adopt a mapped keyframe if one is due → track → state → ask for
the next keyframe. The path of a keyframe (`keyframe_mapping.py`): `MapperThread` → `MapperHost` → `Mapper.map` →
`adopt`: its depth, its points and where keyframes lie from now on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np

from spark3r_core.errors import Spark3rError
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.sensor_depth import DepthRatio
from spark3r_core.models.facts import ModelFacts
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.engine.among_positions import AmongPositions
from spark3r_stream.engine.depth_ratios import DepthRatios
from spark3r_stream.engine.final_tracking import FinalTracking
from spark3r_stream.engine.frame_cloud import CloudConfig
from spark3r_stream.engine.frame_preparation import FramePreparation
from spark3r_stream.engine.frame_result import FrameOutputs
from spark3r_stream.engine.keyframe_mapping import KeyframeMapping, NotMapped
from spark3r_stream.engine.map_gauge import MapGauge
from spark3r_stream.engine.map_tracking import MapTracking
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.mapper_thread import MapperThread
from spark3r_stream.engine.published_map import PublishedMap
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.results import StepOutput, failed_output
from spark3r_stream.engine.tracking_step import (
    DepthSensor,
    MotionSensor,
    PictureFacts,
    PositionSensor,
    Prepared,
    PublishFacts,
    Step,
    Tracked,
    time_s,
)
from spark3r_stream.frame import Frame
from spark3r_stream.map_file.saved_map import MapFacts, Metres
from spark3r_stream.stats import DropCause

log = logging.getLogger(__name__)


class TrackingReconstructor:
    """One stream of frames: tracked, and mapped by one model.

    Args:
        host: where keyframes are mapped; closed with this.
        long_side: longest side of the network input in pixels; None: the model's own.
        camera: the user's camera; frames are undistorted and the focal length stays.
        cloud: which points of a keyframe are published.
        waits: adopt keyframes at fixed frames, so that a run does not depend on timing (files); otherwise when they are
            there (live).
        refines: read depth off several views as the map grows, when the mapper has nothing better to do (live). With a
            file it comes with the last adjustment, which then takes several times as long.
        reopening: a saved map to go on in: frames have no pose until one is recognised there.
        metric: what is known of the scene in metres.
        first_submap: number of the first one, where others of this camera are out already.

    retracks: track all frames once more in the end, on what is known by then; set it before the first frame.
    """

    def __init__(
        self,
        host: MapperHost,
        long_side: int | None = None,
        camera: Intrinsics | None = None,
        cloud: CloudConfig | None = None,
        *,
        waits: bool = True,
        refines: bool = False,
        reopening: Reopening | None = None,
        metric: MetricOptions | None = None,
        first_submap: int = 0,
    ) -> None:
        self.memory, self.camera = host.memory, camera
        self.waits, self.refines = waits, refines
        self.retracks = True
        self.sensor: MotionSensor | None = None
        self._depth_ratios: DepthRatios | None = None
        self.gps: PositionSensor | None = None
        self._host = host
        self._thread: MapperThread[PublishFacts] = MapperThread(host)
        self._gauge = MapGauge(metric)
        self._preparation = FramePreparation(host, long_side, camera, self._gauge.look)
        self._map = PublishedMap(self._gauge, cloud or CloudConfig(), host.options.max_bytes, first_submap)
        self._outputs = FrameOutputs(self._preparation, self._gauge, self._map)
        self._keyframes = KeyframeMapping(self._thread, self._gauge, self._map, reopening)
        self._final = FinalTracking()
        self._reopening = reopening
        self._tracking = self._new_tracking(is_searching=reopening is not None)
        self._pictures: PictureFacts | None = None  # of the present map
        self._epoch: int | None = None
        self._odom_from_camera = np.eye(4)  # of the newest tracked frame: odometry goes on when a new map begins
        self._last_good: np.ndarray | None = None  # newest confirmed camera in the map of all, (4, 4)
        self._last_hint: MotionHint | None = None  # of the newest tracked frame, and of that camera
        self._last_good_hint: MotionHint | None = None
        if reopening is not None:
            assert reopening.world is not None, "another run has begun with it"
            host.open(reopening.world, reopening.is_read_only)

    @property
    def facts(self) -> ModelFacts:
        return self._host.facts

    @property
    def pictures(self) -> bool:
        """Whether frames are published with their pictures."""
        return self._preparation.pictures

    @pictures.setter
    def pictures(self, wanted: bool) -> None:
        self._preparation.pictures = wanted

    @property
    def image_hw(self) -> tuple[int, int] | None:
        """Network input size, known after the first frame."""
        return None if self._pictures is None else self._pictures.sizes.network.image_hw

    @property
    def submap(self) -> int:
        return max(0, self._map.next_number - 1)

    @property
    def loops(self) -> list[tuple[int, int]]:
        """Pairs of keyframes that were recognised as one place."""
        return self._map.loops

    @property
    def metres(self) -> tuple[Metres, ...]:
        """Of the maps of this run, for their file."""
        return self._gauge.metres(self._map.submaps)

    @property
    def among_positions(self) -> AmongPositions | None:
        """The present map among positions of GPS; None without any."""
        return self._gauge.among_positions(self._map.submaps)

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> Future[int]:
        """See `MapperHost.save_map`, after what was asked for before; before `close`."""
        return self._thread.save_map(path, facts, overwrite)

    def process(self, frames: Sequence[Frame], adopt: Sequence[int | None] | None = None) -> StepOutput:
        """Track the next frame. A frame that fails gives an output marked invalid with its reason.

        frames: one. adopt: with a recorded run, the keyframe that is adopted before it, or None for none.
        """
        result = self._process(frames, adopt)
        return self._gauge.stamped(result, self._map.submaps)

    def _process(self, frames: Sequence[Frame], adopt: Sequence[int | None] | None) -> StepOutput:
        (frame,) = frames
        self._host.check()
        if self.sensor is not None:
            frame = replace(frame, hint=self.sensor.of(frame))
        if self.gps is not None:
            frame = replace(frame, fixes=self.gps.of(frame))
        self._gauge.saw_fixes(time_s(frame), frame.fixes)
        step = Step(frame.hint, frame.fixes)
        prepared = frame.prepared or self._preparation(frame).prepared
        if isinstance(prepared, Spark3rError):
            return step.result(failed_output(frame, self.submap, str(prepared)), {DropCause.UNDISTORT_ERROR: 1})
        assert isinstance(prepared, Prepared)
        if self._epoch is not None and frame.epoch != self._epoch:
            self._tracking.health.interrupted()
        self._epoch = frame.epoch
        if self._pictures is None or self._pictures.sizes.picture_hw != prepared.sizes.picture_hw:
            self._begin_with(frame, prepared, step)
        if self._keyframes.is_due(frame, adopt, waits=self.waits, is_urgent=self._tracking.is_urgent):
            self._adopt(step)
        if self._reopening is not None:
            step.keyframes += self._reopening.next_outputs(self._map.cloud)
        if self._tracking.is_searching:
            return self._search(frame, prepared, step)
        if self._tracking.tracker.reference is None:
            return self._begin_map(frame, prepared, step)
        return self._track(frame, prepared, step)

    def _begin_with(self, frame: Frame, prepared: Prepared, step: Step) -> None:
        """Begin with pictures of this size: the run, or another map, since one map is of pictures of one size."""
        height, width = prepared.sizes.picture_hw
        reopening, is_first = self._reopening, self._pictures is None
        if reopening is not None and (is_first or reopening.is_read_only):
            reopening.check(frame.frame_id, prepared.sizes.picture_hw, prepared.intrinsics)
        if not is_first:
            self._begin_part(f"the picture's size changed to {width}x{height} at frame {frame.frame_id}")
        elif reopening is not None:
            self._map.reopen(reopening, time_s(frame), step)
        self._pictures = PictureFacts(prepared.sizes, prepared.view)

    def _search(self, frame: Frame, prepared: Prepared, step: Step) -> StepOutput:
        """Have the mapper look for this frame in the saved map; without a pose until one is found there."""
        if self._tracking.gives_up:
            self._begin_part("the camera was not recognised in the saved map, which stays; this one is not saved")
            return self._begin_map(frame, prepared, step)
        self._keyframes.look_for(frame, prepared, self._odom_from_camera)
        why = "this camera was not recognised in the saved map yet"
        return step.result(failed_output(frame, self.submap, why), {DropCause.NOT_FOUND: 1})

    def warm_up(self, size_wh: tuple[int, int]) -> None:
        """See `MapperHost.warm_up`. size_wh: of the pictures to come."""
        self._host.warm_up(self._preparation.sizes_of(size_wh[::-1]).network.image_hw)

    def prepare_ahead(self, frame: Frame) -> Frame:
        """See `FramePreparation`: off the tracking thread, one frame at a time."""
        return self._preparation(frame)

    def finish(self, *, adjust_all: bool) -> StepOutput:
        """What still comes after the last frame: the pending keyframe and an adjustment of all."""
        step = Step()
        if not self._thread.is_free:
            self._adopt(step)
        if self._reopening is not None:
            step.keyframes += self._reopening.next_outputs(self._map.cloud, most=None)
        self._take_refined(step)
        if adjust_all:
            self._map_last_frame(step)
            update = self._thread.finish(not self.refines, self._gauge.known_places(self._map.submaps))
            if update is not None:
                pictures = self._pictures
                assert pictures is not None
                self._map.settle(update, pictures.camera(update), step)
                step.camera = pictures.learned_camera(update)
                if self.retracks:
                    step.retracked = self._final.finish(self._map.submaps, update.refined, pictures.sizes.tracker)
            among = self.among_positions
            if among is not None and among.lacks:
                log.warning("gps: %s", among.lacks)
        return self._gauge.stamped(step.result(None), self._map.submaps)

    def close(self) -> None:
        """End the mapper. Further calls do nothing."""
        self._thread.close()

    def _map_last_frame(self, step: Step) -> None:
        """The end of a file is a keyframe: the frames since the last one are held from both sides."""
        newest, self._tracking.newest = self._tracking.newest, None
        if newest is not None and newest.frame.frame_id not in self._map.submaps:
            self._keyframes.ask_at_end(newest)
            self._adopt(step)

    def _track(self, frame: Frame, prepared: Prepared, step: Step) -> StepOutput:
        """Track the frame on its keyframe, and ask for the next one; begin another map where it is lost for good."""
        newest = self._tracking.track(frame, prepared)
        tracked = newest.tracked
        if self.sensor is not None:
            self.sensor.tracked(frame, tracked.odom_from_camera if tracked.aligned else None)
        self._odom_from_camera, self._last_hint = tracked.odom_from_camera, frame.hint
        if self.retracks:
            self._final.tracked(tracked, time_s(frame), prepared.grey)
        state, health = self._tracking.judge(newest), self._tracking.health
        output = self._outputs.of(newest, state, health.reason, self._keyframes.window)
        if health.is_confirmed:
            self._last_good, self._last_good_hint = self._map.camera_in_all(tracked), frame.hint
            self._gauge.saw_frame(time_s(frame), tracked)
            step.depth_ratio = frame.depth_ratio or self._depth_ratio(newest)
            self._gauge.saw_depth_image(step.depth_ratio)
        if why := self._tracking.why_it_ends:
            self._begin_part(why)
        else:
            self._keyframes.ask(newest, self._tracking, refines=self.refines)
        return step.result(output)

    def listen_to_depth(self, sensor: DepthSensor) -> None:
        """To a sensor beside the camera, from the first frame on."""
        self._depth_ratios = DepthRatios(sensor, self._gauge.bend)

    def _depth_ratio(self, newest: Tracked) -> DepthRatio | None:
        """What a depth sensor says of the scale; None without one, or where it says nothing now."""
        if self._depth_ratios is None:
            return None
        return self._depth_ratios.of(newest.frame, newest.prepared, newest.tracked, newest.reference)

    def _adopt(self, step: Step) -> None:
        """Take the pending keyframe, after the depth that was asked for before it."""
        assert self._pictures is not None
        self._take_refined(step)
        self._keyframes.adopt(self._tracking, self._pictures, step)

    def _take_refined(self, step: Step) -> None:
        """Publish what depth was read off several views since."""
        refined = self._thread.take_refined()
        self._map.refine(refined, step)
        if self.retracks:
            self._final.refined(refined)

    def _begin_map(self, frame: Frame, prepared: Prepared, step: Step) -> StepOutput:
        """The first frame of a map is mapped before anything is published."""
        assert self._pictures is not None
        since = _moved_since(self._last_hint, frame.hint)
        odom = self._odom_from_camera if since is None else se3.compose(self._odom_from_camera, since)
        since_good = _moved_since(self._last_good_hint, frame.hint)
        if self._last_good is not None and since_good is not None:
            self._map.place_part(self._last_good, since_good)
        reference = self._keyframes.begin(frame, prepared, self._pictures, odom, step)
        if isinstance(reference, NotMapped):
            return step.result(failed_output(frame, self.submap, reference.why), {reference.cause: 1})
        first, state = self._tracking.begin(frame, prepared, reference)
        if self.retracks:
            self._final.tracked(first.tracked, time_s(frame), prepared.grey)
        why = self._tracking.health.reason
        return step.result(self._outputs.of(first, state, why, self._keyframes.window, mapped=True))

    def _begin_part(self, reason: str) -> None:
        """Give the map up and begin another, placed at the last confirmed camera or where another sensor says that it
        has gone since; its scale is a guess."""
        log.warning("a new map begins: %s", reason)
        self._thread.begin()
        self._map.begin_part(self._last_good)
        self._tracking = self._new_tracking()
        if self._depth_ratios is not None:
            self._depth_ratios.begin_map()

    def _new_tracking(self, *, is_searching: bool = False) -> MapTracking:
        is_read_only = self._reopening is not None and self._reopening.is_read_only
        return MapTracking(
            closes_loops=self._host.options.closes_loops, may_give_up=not is_read_only, is_searching=is_searching
        )


def _moved_since(before: MotionHint | None, now: MotionHint | None) -> np.ndarray | None:
    """(4, 4) camera_before_from_now, by a sensor that is sure of it; None without one."""
    return before.to(now) if before is not None and now is not None and now.is_sure else None
