"""The way of a keyframe, as tracking sees it: asked for, mapped beside it, adopted when it is due, and published."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.errors import Spark3rError
from spark3r_core.stream.estimates import WindowResult
from spark3r_core.stream.keyframe_choice import KeyframeRule
from spark3r_core.stream.map_update import KeyframeRequest, MapUpdate
from spark3r_core.stream.reference import Reference
from spark3r_stream.engine.keyframe_request import first_request, lag_after, tracked_request
from spark3r_stream.engine.map_gauge import MapGauge
from spark3r_stream.engine.map_tracking import MapTracking
from spark3r_stream.engine.mapper_thread import MapperThread
from spark3r_stream.engine.published_map import PublishedMap
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.results import first_line
from spark3r_stream.engine.tracking_step import PictureFacts, Prepared, PublishFacts, Step, Tracked, time_s
from spark3r_stream.frame import Frame
from spark3r_stream.stats import DropCause

log = logging.getLogger(__name__)

CALM_FRAMES = (15, 30, 45, 60)  # on a keyframe without need of another: then there is time for depth from several views


@dataclass(frozen=True)
class NotMapped:
    """Why a map could not begin with a frame."""

    cause: DropCause
    why: str


class KeyframeMapping:
    """Of one run, on the tracking thread.

    window: the network's newest.

    Args:
        thread: maps what is asked for.
        gauge, published: of the same run.
        reopening: the saved map that the run goes on in.
    """

    def __init__(
        self,
        thread: MapperThread[PublishFacts],
        gauge: MapGauge,
        published: PublishedMap,
        reopening: Reopening | None,
    ) -> None:
        self.window: WindowResult | None = None
        self._thread, self._gauge, self._published = thread, gauge, published
        self._reopening = reopening
        self._rule = KeyframeRule()

    def begin(
        self, frame: Frame, prepared: Prepared, pictures: PictureFacts, odom_from_camera: np.ndarray, step: Step
    ) -> Reference | NotMapped:
        """Map the first frame of a map while the caller waits. odom_from_camera: (4, 4), where odometry goes on."""
        request = self._first_request(frame, prepared, odom_from_camera)
        try:
            update = self._thread.map_now(request)
        except Spark3rError:
            raise
        except Exception as error:  # out of memory, a broken kernel; the stream outlives it
            log.exception("the first keyframe failed")
            self._thread.begin()
            return NotMapped(DropCause.MODEL_ERROR, f"the model failed: {first_line(error)}")
        if update.keyframe is None or update.reference is None:
            self._thread.begin()
            cause = DropCause.NOT_FINITE if update.keyframe is None else DropCause.NOT_ALIGNED
            return NotMapped(cause, update.failure)
        self._publish(request, PublishFacts(frame, None), update, pictures, step)
        return update.reference

    def look_for(self, frame: Frame, prepared: Prepared, odom_from_camera: np.ndarray) -> None:
        """Have a frame that was not tracked looked for in the map, if the mapper is free."""
        if self._thread.is_free:
            request = replace(self._first_request(frame, prepared, odom_from_camera), lost=True)
            self._thread.submit(request, PublishFacts(frame, None), frame.frame_id + 1)

    def ask(self, newest: Tracked, tracking: MapTracking, *, refines: bool) -> None:
        """Ask for the newest frame to be mapped, if it should be and the mapper is free; if lost, to be found. refines:
        see `TrackingReconstructor`."""
        if not self._thread.is_free:
            return
        if tracking.is_lost:
            self._submit(newest, replace(self._request(newest), tracked=None, points=None, lost=True), 1)
            return
        by_rule = bool(self._rule.reason(newest.tracked, tracking.frames_on_keyframe))
        if not by_rule and not self._is_wanted(newest):
            if refines and tracking.frames_on_keyframe in CALM_FRAMES:
                self._thread.refine()
            return
        self._submit(newest, self._request(newest), lag_after(tracking.frames_on_keyframe), is_extra=not by_rule)
        tracking.newest = None

    def ask_at_end(self, newest: Tracked) -> None:
        """Ask for the last frame of a run, whatever it shows."""
        self._submit(newest, self._request(newest), 0)

    def is_due(self, frame: Frame, recorded: Sequence[int | None] | None, *, waits: bool, is_urgent: bool) -> bool:
        """Whether the pending keyframe is adopted before this frame. recorded: `adopt` of
        `TrackingReconstructor.process`. waits: see there. is_urgent: see `MapTracking`."""
        pending = self._thread.pending
        if recorded is not None:
            due = recorded[0] is not None
        elif waits:
            at_once = is_urgent or self._is_named(frame)
            due = pending is not None and (frame.frame_id >= pending.due or at_once)
        else:
            due = self._thread.is_ready
        return due and pending is not None

    def adopt(self, tracking: MapTracking, pictures: PictureFacts, step: Step) -> None:
        """Take the pending keyframe: publish it, and track on it from now on."""
        pending, update = self._thread.take()
        request, facts = pending.request, pending.facts
        step.adopted = request.frame_id
        if isinstance(update, Exception) or update.keyframe is None:
            why = first_line(update) if isinstance(update, Exception) else update.failure
            tracking.refused(request, why, denied=isinstance(update, MapUpdate) and update.denied)
            level = logging.DEBUG if request.lost and isinstance(update, MapUpdate) else logging.WARNING
            log.log(level, "keyframe %d was not mapped: %s", request.frame_id, why)
            return
        self._publish(request, facts, update, pictures, step)
        if update.reference is not None:
            tracking.adopt(facts.frame, request, update.reference, None if facts.is_extra else update.agrees)

    def _publish(
        self, request: KeyframeRequest, facts: PublishFacts, update: MapUpdate, pictures: PictureFacts, step: Step
    ) -> None:
        self._published.add(request, facts, update, pictures.camera(update), step)
        self.window = update.window

    def _is_wanted(self, newest: Tracked) -> bool:
        """Whether what is known in metres needs this frame as a keyframe: only those are adjusted together."""
        gauge, tracked = self._gauge, newest.tracked
        wanted = self._is_named(newest.frame) or gauge.wants_view(newest.prepared.tags, tracked)
        return wanted and tracked.aligned

    def _is_named(self, frame: Frame) -> bool:
        """Whether the user named this frame, by its time or its number."""
        return self._gauge.wants_time(time_s(frame)) or self._gauge.wants_picture(frame.picture_number)

    def _submit(self, newest: Tracked, request: KeyframeRequest, lag: int, *, is_extra: bool = False) -> None:
        facts = PublishFacts(newest.frame, self._published.submaps[newest.tracked.keyframe_id].number, is_extra)
        self._thread.submit(request, facts, newest.frame.frame_id + lag)

    def _request(self, newest: Tracked) -> KeyframeRequest:
        """That a tracked frame be mapped."""
        first = self._first_request(newest.frame, newest.prepared, newest.tracked.odom_from_camera)
        return tracked_request(newest, first)

    def _first_request(self, frame: Frame, prepared: Prepared, odom_from_camera: np.ndarray) -> KeyframeRequest:
        """Of a frame that was not tracked."""
        time_in_map_s = time_s(frame) + (0.0 if self._reopening is None else self._reopening.time_shift_s)
        return first_request(frame, prepared, time_in_map_s, odom_from_camera, self._gauge.asks)
