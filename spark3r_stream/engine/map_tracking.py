"""Tracking on one map: on which keyframe, how far its frames are believed, whether the camera is looked for in it.

All of it ends with the map. It knows no thread and no mapper: the same frames, and the same answers to the same
requests, give the same.
"""

from __future__ import annotations

import logging

import numpy as np

from spark3r_core.stream.map_update import KeyframeRequest
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.relocalisation import TOO_LITTLE
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_core.stream.tracker import Tracker
from spark3r_stream.engine.frame_health import FrameHealth
from spark3r_stream.engine.keyframe_request import is_urgent
from spark3r_stream.engine.relocaliser import MOST_TRIES, TRIES_AT_FIRST, Relocaliser
from spark3r_stream.engine.tracking_step import Prepared, Tracked, time_s
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import TrackingState

log = logging.getLogger(__name__)


class MapTracking:
    """Call `begin` with the first keyframe and `adopt` with each later one; `track` and then `judge` per frame.

    newest: the newest frame, if it is confirmed and no keyframe. frames_on_keyframe: since the newest was adopted.
    is_urgent: whether tracking should not go on on that any longer than it must.

    Args:
        closes_loops: whether a camera that is lost can be found in the map.
        may_give_up: whether another map may begin when it is not found.
        is_searching: the map is a saved one, and no frame was recognised in it yet.
    """

    def __init__(self, *, closes_loops: bool, may_give_up: bool, is_searching: bool) -> None:
        self.is_searching = is_searching
        self.tracker = Tracker()
        self.health = FrameHealth()
        self.newest: Tracked | None = None
        self.frames_on_keyframe = 0
        self.is_urgent = False
        self._closes_loops, self._may_give_up = closes_loops, may_give_up
        self._relocaliser = self._new_relocaliser(TRIES_AT_FIRST if is_searching else MOST_TRIES)
        self._denied = ""  # why features say that the camera is not where pixels are aligned; until it is found

    @property
    def is_lost(self) -> bool:
        """Whether the camera is to be looked for in the map."""
        return self._closes_loops and (self._relocaliser.should_ask or bool(self._denied))

    @property
    def gives_up(self) -> bool:
        """Whether it was looked for in vain for long enough."""
        return self._relocaliser.gives_up

    @property
    def why_it_ends(self) -> str:
        """Why the map is given up after this frame; empty if it is not."""
        if self._closes_loops and not self.gives_up:
            return ""
        if self._denied:
            return f"tracking was lost: {self._denied}"
        return "tracking was lost" if self.health.is_lost else ""

    def begin(self, frame: Frame, prepared: Prepared, reference: Reference) -> tuple[Tracked, TrackingState]:
        """With the map's first frame, which is its first keyframe: the frame as it lies on itself, and its state."""
        self.tracker.adopt(reference, time_s(frame))
        self.frames_on_keyframe = 0
        tracked = TrackedFrame(
            frame.frame_id, frame.frame_id, np.eye(4), reference.odom_from_key, True, 1.0, 1.0, 1.0, 0.0, 0.0,
            np.zeros((6, 6)), reference.camera(),
        )  # fmt: skip
        return Tracked(frame, prepared, tracked, reference), self.health.begin()

    def track(self, frame: Frame, prepared: Prepared) -> Tracked:
        """Align the frame to its keyframe."""
        reference = self.tracker.reference
        assert reference is not None
        tracked = self.tracker.track(
            frame.frame_id, prepared.pyramid, time_s(frame), lambda: reference.guess(prepared.picture), frame.hint
        )
        self.frames_on_keyframe += 1
        self.is_urgent = is_urgent(tracked)
        return Tracked(frame, prepared, tracked, reference)

    def judge(self, newest: Tracked) -> TrackingState:
        """The state of the frame that was tracked."""
        if self._denied:
            self.health.interrupted(self._denied)
        state = self.health.update(newest.tracked)
        is_good = newest.tracked.aligned and not self._denied
        self._relocaliser.tracked() if is_good else self._relocaliser.missed()
        self.newest = newest if is_good else None
        return state

    def adopt(self, frame: Frame, request: KeyframeRequest, reference: Reference, agrees: bool | None) -> None:
        """Track on this keyframe from now on. agrees: see `FrameHealth.adopted`."""
        self.tracker.adopt(reference, time_s(frame) if request.lost else None)
        if request.lost:
            log.info("frame %d was recognised: tracking goes on in the same map", request.frame_id)
            self.is_searching = False
            self._relocaliser = self._new_relocaliser()
            self._denied = ""
            self.health.interrupted("the camera was found again; frames after it have yet to confirm that")
        self.health.adopted(agrees)
        self.frames_on_keyframe = 0
        self.is_urgent = False

    def refused(self, request: KeyframeRequest, why: str, *, denied: bool) -> None:
        """The frame was not mapped. denied: see `MapUpdate`."""
        if request.lost:
            self._relocaliser.answered(recognisable=why != TOO_LITTLE)
        elif denied:
            self._denied = why

    def _new_relocaliser(self, most_tries: int = MOST_TRIES) -> Relocaliser:
        return Relocaliser(most_tries if self._may_give_up else None)
