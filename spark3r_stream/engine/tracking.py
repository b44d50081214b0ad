"""Frames in, results out, with a tracker in front: every frame is tracked at once, keyframes are mapped beside it.

The path of a frame: `process` → undistort and resize → adopt a mapped keyframe if one is due → track → state → ask for
the next keyframe. The path of a keyframe: `MapperThread` → `MapperHost` → `Mapper.map` → `_adopt`: its depth, its
points and where keyframes lie from now on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np

from spark3r_core.errors import Spark3rError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.sensor_depth import DepthRatio
from spark3r_core.metric.steady_odometry import SteadyOdometry
from spark3r_core.models.facts import ModelFacts
from spark3r_core.stream.camera_sizes import CameraSizes, intrinsics_of
from spark3r_core.stream.estimates import WindowResult
from spark3r_core.stream.keyframe_choice import KeyframeRule
from spark3r_core.stream.map_update import KeyframeRequest, MapUpdate
from spark3r_core.stream.relocalisation import TOO_LITTLE
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_core.stream.tracker import Tracker
from spark3r_stream.engine.among_positions import AmongPositions
from spark3r_stream.engine.depth_ratios import DepthRatios
from spark3r_stream.engine.final_tracking import FinalTracking
from spark3r_stream.engine.frame_cloud import CloudConfig
from spark3r_stream.engine.frame_health import FrameHealth
from spark3r_stream.engine.frame_preparation import FramePreparation
from spark3r_stream.engine.frame_result import frame_result
from spark3r_stream.engine.keyframe_request import first_request, is_urgent, lag_after, tracked_request
from spark3r_stream.engine.map_gauge import MapGauge
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.mapper_thread import MapperThread
from spark3r_stream.engine.published_map import PublishedMap
from spark3r_stream.engine.relocaliser import MOST_TRIES, TRIES_AT_FIRST, Relocaliser
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.results import StepOutput, failed_output, first_line
from spark3r_stream.engine.tracking_step import (
    DepthSensor,
    MotionSensor,
    PositionSensor,
    Prepared,
    PublishFacts,
    Step,
    Tracked,
    focal_std,
    time_s,
)
from spark3r_stream.frame import Frame
from spark3r_stream.map_file.saved_map import MapFacts, Metres
from spark3r_stream.stats import DropCause
from spark3r_stream.wire.messages import (
    CameraView,
    FrameOutput,
    TrackingState,
)

log = logging.getLogger(__name__)

CALM_FRAMES = (15, 30, 45, 60)  # on a keyframe without need of another: then there is time for depth from several views


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
        self._final = FinalTracking()
        self._odometry = SteadyOdometry()
        self._tracker = Tracker()
        self._health = FrameHealth()
        self._reopening = reopening
        self._relocaliser = self._new_relocaliser(TRIES_AT_FIRST if reopening is not None else MOST_TRIES)
        self._is_searching = reopening is not None  # no frame was recognised yet
        self._rule = KeyframeRule()
        self._sizes: CameraSizes | None = None
        self._view: CameraView | None = None  # of the pictures, where the user gave the camera
        self._epoch: int | None = None
        self._frames_on_keyframe = 0
        self._urgent = False
        self._denied = ""  # why features say that the camera is not where pixels are aligned; until it is found
        self._last_window: WindowResult | None = None
        self._odom_from_camera = np.eye(4)  # of the newest tracked frame: odometry goes on when a new map begins
        self._last_good: np.ndarray | None = None  # newest confirmed camera in the map of all, (4, 4)
        self._newest: Tracked | None = None  # the newest frame, if it is confirmed and no keyframe
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
        return None if self._sizes is None else self._sizes.network.image_hw

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
            self._health.interrupted()
        self._epoch = frame.epoch
        if self._sizes is None or self._sizes.picture_hw != prepared.sizes.picture_hw:
            self._begin_with(frame, prepared, step)
        assert self._sizes is not None
        self._adopt_if_due(frame, step, adopt)
        if self._reopening is not None:
            step.keyframes += self._reopening.next_outputs(self._map.cloud)
        if self._is_searching:
            return self._search(frame, prepared, step)
        if self._tracker.reference is None:
            return self._begin_map(frame, prepared, step)
        tracked = self._track(frame, prepared)
        if self.retracks:
            self._final.tracked(tracked, time_s(frame), prepared.grey)
        if self._denied:
            self._health.interrupted(self._denied)
        state = self._health.update(tracked)
        output = self._output(frame, tracked, prepared, state)
        if self._health.is_confirmed:
            self._last_good = self._map.camera_in_all(tracked)
            self._gauge.saw_frame(time_s(frame), tracked)
            step.depth_ratio = frame.depth_ratio or self._depth_ratio(frame, prepared, tracked)
            self._gauge.saw_depth_image(step.depth_ratio)
        is_good = tracked.aligned and not self._denied
        self._relocaliser.tracked() if is_good else self._relocaliser.missed()
        gives_up = self._relocaliser.gives_up or not self._host.options.closes_loops
        if gives_up and (self._health.is_lost or self._denied):
            self._begin_part(f"tracking was lost: {self._denied}" if self._denied else "tracking was lost")
        else:
            reference = self._tracker.reference
            assert reference is not None
            newest = Tracked(frame, prepared, tracked, reference)
            self._newest = newest if is_good else None
            self._ask(newest)
        return step.result(output)

    def _begin_with(self, frame: Frame, prepared: Prepared, step: Step) -> None:
        """Begin with pictures of this size: the run, or another map, since one map is of pictures of one size."""
        height, width = prepared.sizes.picture_hw
        reopening, is_first = self._reopening, self._sizes is None
        if reopening is not None and (is_first or reopening.is_read_only):
            reopening.check(frame.frame_id, prepared.sizes.picture_hw, prepared.intrinsics)
        if not is_first:
            self._begin_part(f"the picture's size changed to {width}x{height} at frame {frame.frame_id}")
        elif reopening is not None:
            self._map.reopen(reopening, time_s(frame), step)
        self._sizes, self._view = prepared.sizes, prepared.view

    def _search(self, frame: Frame, prepared: Prepared, step: Step) -> StepOutput:
        """Have the mapper look for this frame in the saved map; without a pose until one is found there."""
        if self._relocaliser.gives_up:
            self._begin_part("the camera was not recognised in the saved map, which stays; this one is not saved")
            return self._begin_map(frame, prepared, step)
        if self._thread.is_free:
            request = replace(self._first_request(frame, prepared), lost=True)
            self._thread.submit(request, PublishFacts(frame, None), frame.frame_id + 1)
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
                self._map.settle(update, self._camera_as_known(update), step)
                step.camera = self._camera_of_map(update)
                if self.retracks and self._sizes is not None:
                    step.retracked = self._final.finish(self._map.submaps, update.refined, self._sizes.tracker)
            among = self.among_positions
            if among is not None and among.lacks:
                log.warning("gps: %s", among.lacks)
        return self._gauge.stamped(step.result(None), self._map.submaps)

    def close(self) -> None:
        """End the mapper. Further calls do nothing."""
        self._thread.close()

    def _camera_of_map(self, update: MapUpdate) -> CameraView | None:
        """What was learned of the camera; nothing where the user gave it."""
        if self.camera is not None or self._sizes is None:
            return None
        height, width = self._sizes.picture_hw
        std = focal_std(update.focal_std)
        return CameraView(intrinsics_of(update.focal, (height, width)), width, height, focal_std=std)

    def _map_last_frame(self, step: Step) -> None:
        """The end of a file is a keyframe: the frames since the last one are held from both sides."""
        newest, self._newest = self._newest, None
        if newest is not None and newest.frame.frame_id not in self._map.submaps:
            self._submit(newest, self._request(newest), 0)
            self._adopt(step)

    def _track(self, frame: Frame, prepared: Prepared) -> TrackedFrame:
        reference = self._tracker.reference
        assert reference is not None
        tracked = self._tracker.track(
            frame.frame_id, prepared.pyramid, time_s(frame), lambda: reference.guess(prepared.picture), frame.hint
        )
        if self.sensor is not None:
            self.sensor.tracked(frame, tracked.odom_from_camera if tracked.aligned else None)
        self._odom_from_camera = tracked.odom_from_camera
        self._frames_on_keyframe += 1
        self._urgent = is_urgent(tracked)
        return tracked

    def listen_to_depth(self, sensor: DepthSensor) -> None:
        """To a sensor beside the camera, from the first frame on."""
        self._depth_ratios = DepthRatios(sensor, self._gauge.bend)

    def _depth_ratio(self, frame: Frame, prepared: Prepared, tracked: TrackedFrame) -> DepthRatio | None:
        """What a depth sensor says of the scale; None without one, or where it says nothing now."""
        reference = self._tracker.reference
        if self._depth_ratios is None or reference is None:
            return None
        return self._depth_ratios.of(frame, prepared, tracked, reference)

    def _ask(self, newest: Tracked) -> None:
        """Ask for the newest frame to be mapped, if it should be and the mapper is free; if lost, to be found."""
        if not self._thread.is_free:
            return
        if self._host.options.closes_loops and (self._relocaliser.should_ask or self._denied):
            self._submit(newest, replace(self._request(newest), tracked=None, points=None, lost=True), 1)
            return
        by_rule = bool(self._rule.reason(newest.tracked, self._frames_on_keyframe))
        if not by_rule and not self._is_wanted(newest):
            if self.refines and self._frames_on_keyframe in CALM_FRAMES:
                self._thread.refine()
            return
        self._submit(newest, self._request(newest), lag_after(self._frames_on_keyframe), is_extra=not by_rule)
        self._newest = None

    def _is_wanted(self, newest: Tracked) -> bool:
        """Whether what is known in metres needs this frame as a keyframe: only those are adjusted together."""
        gauge, tracked = self._gauge, newest.tracked
        wanted = self._is_named(newest.frame) or gauge.wants_view(newest.prepared.tags, tracked)
        return wanted and tracked.aligned

    def _is_named(self, frame: Frame) -> bool:
        """Whether the user named this frame, by its time or its number."""
        return self._gauge.wants_time(time_s(frame)) or self._gauge.wants_picture(frame.picture_number)

    def _submit(self, newest: Tracked, request: KeyframeRequest, lag: int, *, is_extra: bool = False) -> None:
        facts = PublishFacts(newest.frame, self._map.submaps[newest.tracked.keyframe_id].number, is_extra)
        self._thread.submit(request, facts, newest.frame.frame_id + lag)

    def _request(self, newest: Tracked) -> KeyframeRequest:
        """That a tracked frame be mapped."""
        return tracked_request(newest, self._first_request(newest.frame, newest.prepared))

    def _adopt_if_due(self, frame: Frame, step: Step, recorded: Sequence[int | None] | None) -> None:
        pending = self._thread.pending
        if recorded is not None:
            due = recorded[0] is not None
        elif self.waits:
            at_once = self._urgent or self._is_named(frame)
            due = pending is not None and (frame.frame_id >= pending.due or at_once)
        else:
            due = self._thread.is_ready
        if due and pending is not None:
            self._adopt(step)

    def _adopt(self, step: Step) -> None:
        """Take the pending keyframe: publish it, and track on it from now on."""
        self._take_refined(step)
        pending, update = self._thread.take()
        request = pending.request
        step.adopted = request.frame_id
        if isinstance(update, Exception) or update.keyframe is None:
            why = first_line(update) if isinstance(update, Exception) else update.failure
            if request.lost:
                self._relocaliser.answered(recognisable=why != TOO_LITTLE)
            elif isinstance(update, MapUpdate) and update.denied:
                self._denied = why
            level = logging.DEBUG if request.lost and isinstance(update, MapUpdate) else logging.WARNING
            log.log(level, "keyframe %d was not mapped: %s", request.frame_id, why)
            return
        self._publish(request, pending.facts, update, step)
        if update.reference is not None:
            self._tracker.adopt(update.reference, time_s(pending.facts.frame) if request.lost else None)
            if request.lost:
                log.info("frame %d was recognised: tracking goes on in the same map", request.frame_id)
                self._is_searching = False
                self._relocaliser = self._new_relocaliser()
                self._denied = ""
                self._health.interrupted("the camera was found again; frames after it have yet to confirm that")
            self._health.adopted(None if pending.facts.is_extra else update.agrees)
            self._frames_on_keyframe = 0
            self._urgent = False

    def _take_refined(self, step: Step) -> None:
        """Publish what depth was read off several views since."""
        refined = self._thread.take_refined()
        self._map.refine(refined, step)
        if self.retracks:
            self._final.refined(refined)

    def _publish(self, request: KeyframeRequest, facts: PublishFacts, update: MapUpdate, step: Step) -> None:
        self._map.add(request, facts, update, self._camera_as_known(update), step)
        self._last_window = update.window

    def _camera_as_known(self, update: MapUpdate) -> np.ndarray:
        """(3, 3) of the pictures."""
        assert self._sizes is not None
        return intrinsics_of(update.focal, self._sizes.picture_hw) if self._view is None else self._view.matrix

    def _begin_map(self, frame: Frame, prepared: Prepared, step: Step) -> StepOutput:
        """The first frame of a map is mapped before anything is published."""
        request = self._first_request(frame, prepared)
        try:
            update = self._thread.map_now(request)
        except Spark3rError:
            raise
        except Exception as error:  # out of memory, a broken kernel; the stream outlives it
            log.exception("the first keyframe failed")
            why = f"the model failed: {first_line(error)}"
            self._thread.begin()
            return step.result(failed_output(frame, self.submap, why), {DropCause.MODEL_ERROR: 1})
        if update.keyframe is None or update.reference is None:
            self._thread.begin()
            cause = DropCause.NOT_FINITE if update.keyframe is None else DropCause.NOT_ALIGNED
            return step.result(failed_output(frame, self.submap, update.failure), {cause: 1})
        self._publish(request, PublishFacts(frame, None), update, step)
        self._tracker.adopt(update.reference, time_s(frame))
        self._frames_on_keyframe = 0
        state = self._health.begin()
        reference = update.reference
        tracked = TrackedFrame(
            frame.frame_id, frame.frame_id, np.eye(4), reference.odom_from_key, True, 1.0, 1.0, 1.0, 0.0, 0.0,
            np.zeros((6, 6)), reference.camera(),
        )  # fmt: skip
        if self.retracks:
            self._final.tracked(tracked, time_s(frame), prepared.grey)
        return step.result(self._output(frame, tracked, prepared, state, mapped=True))

    def _first_request(self, frame: Frame, prepared: Prepared) -> KeyframeRequest:
        """Of a frame that was not tracked."""
        time_in_map_s = self._map_time_s(frame)
        return first_request(frame, prepared, time_in_map_s, self._odom_from_camera, self._gauge.asks)

    def _map_time_s(self, frame: Frame) -> float:
        return time_s(frame) + (0.0 if self._reopening is None else self._reopening.time_shift_s)

    def _new_relocaliser(self, most_tries: int = MOST_TRIES) -> Relocaliser:
        is_read_only = self._reopening is not None and self._reopening.is_read_only
        return Relocaliser(None if is_read_only else most_tries)

    def _begin_part(self, reason: str) -> None:
        """Give the map up and begin another, placed at the last confirmed camera; its scale is a guess."""
        log.warning("a new map begins: %s", reason)
        self._thread.begin()
        self._map.begin_part(self._last_good)
        self._tracker = Tracker()
        self._health = FrameHealth()
        if self._depth_ratios is not None:
            self._depth_ratios.begin_map()
        self._relocaliser = self._new_relocaliser()
        self._is_searching = False
        self._frames_on_keyframe = 0
        self._urgent = False
        self._denied = ""
        self._newest = None

    def _output(
        self,
        frame: Frame,
        tracked: TrackedFrame,
        prepared: Prepared,
        state: TrackingState,
        mapped: bool = False,
    ) -> FrameOutput:
        reference = self._tracker.reference
        assert self._sizes is not None
        assert reference is not None
        submap = self._map.submaps[tracked.keyframe_id]
        odometry = self._odometry.published(tracked.odom_from_camera, self._gauge.metres_per_unit(submap))
        seen = self._preparation.source_camera(frame, tracked, self._sizes, reference)
        reason = self._health.reason if state is not TrackingState.TRACKING else ""
        result = frame_result(
            frame, tracked, submap, seen, odometry, state, reason, window=self._last_window, mapped=mapped
        )
        return FrameOutput(result=result, map_from_submap=submap.map_from_submap, jpeg=prepared.jpeg)
