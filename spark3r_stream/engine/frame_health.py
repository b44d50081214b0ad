"""A state for every tracked frame. Pure: the same history gives the same states.

TRACKING: the pixels confirm the pose on a keyframe that was itself confirmed, in a map whose adjustment leaves
keyframes about where they were tracked, with a focal length known well enough for how far the camera has turned.
LOW_CONFIDENCE: a guess, or a pose on a map that has yet to prove itself; after a doubt, or where a picture is unlike
the one before, also the first confirmed one whose pixels agree so-so: a camera that was carried away finds what looks
alike.
LOST: so many guesses in a row that the pose means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.wire.messages import TrackingState

LOST_FRAMES = 10  # guesses in a row
AFTER_INTERRUPTION = "after an interruption, this camera has yet to prove that it is where the map says"
AGREEING_KEYFRAMES = 2  # in a row, after which a map is believed again whose adjustment had moved one far
MOST_OFF = 0.2  # of the distance from the keyframe, by which a frame that is TRACKING may be off
CLEAR_INLIERS = 0.9  # with fewer, a frame after a doubt waits for the next one to confirm it
LEAST_DISTANCE = 0.05  # in the keyframe's median depths: a camera that stands is held against this
SETTLING_FRAMES = 3  # confirmed frames in a row after which a new map, or one after an interruption, is believed


@dataclass
class FrameHealth:
    """Call `begin` when a map begins, `interrupted` when the source was, `update` per frame.

    reason: why the last state was not TRACKING, for people; empty if it was. is_confirmed: whether the last frame is
    where the map says, however well the distance is known.
    """

    reason: str = ""
    is_confirmed: bool = False
    _settling: int = SETTLING_FRAMES
    _settling_reason: str = "the map has just begun"
    _lost: int = 0
    _disbelieved: int = 0  # keyframes that have yet to agree

    def begin(self) -> TrackingState:
        """The first frame of a map."""
        self._settling, self._lost, self._disbelieved = SETTLING_FRAMES, 0, 0
        self._settling_reason = self.reason = "the map has just begun: no other frame confirms it yet"
        self.is_confirmed = False
        return TrackingState.LOW_CONFIDENCE

    def interrupted(self, why: str = AFTER_INTERRUPTION) -> None:
        """Frames must prove again that the camera is where the map says."""
        self._settling = SETTLING_FRAMES
        self._settling_reason = why

    def adopted(self, agrees: bool | None) -> None:
        """A keyframe was: did adjustment leave it about where it was tracked? None: nobody can say."""
        if agrees is not None:
            self._disbelieved = max(0, self._disbelieved - 1) if agrees else AGREEING_KEYFRAMES

    def update(self, tracked: TrackedFrame) -> TrackingState:
        """State after one frame."""
        state = self._place(tracked)
        self.is_confirmed = state is TrackingState.TRACKING
        if self.is_confirmed and tracked.off_by_focal > MOST_OFF * max(tracked.distance, LEAST_DISTANCE):
            self.reason = "the focal length is not known well enough for so much of a turn: distances may be off"
            return TrackingState.LOW_CONFIDENCE
        return state

    def _place(self, tracked: TrackedFrame) -> TrackingState:
        """Whether the frame is where the map says."""
        if not tracked.aligned:
            self._lost += 1
            self._settling = max(self._settling, 1)
            self._settling_reason = "the frame before was not confirmed"
            self.reason = tracked.doubt
            return TrackingState.LOST if self._lost >= LOST_FRAMES else TrackingState.LOW_CONFIDENCE
        is_clear = tracked.inliers >= CLEAR_INLIERS
        so_so = self._lost > 0 and not is_clear
        self._lost = 0
        if not tracked.on_confirmed:
            self.reason = "features do not confirm where its keyframe lies"
            return TrackingState.LOW_CONFIDENCE
        if self._disbelieved > 0:
            self.reason = "adjustment moved a keyframe by half of its way: distances here are not to be believed yet"
            return TrackingState.LOW_CONFIDENCE
        if self._settling > 0:
            self._settling -= 1
            if self._settling > 0 or tracked.guessed_by_features or so_so:
                self.reason = self._settling_reason
                return TrackingState.LOW_CONFIDENCE
        elif tracked.broken and not is_clear:
            self.reason = "the picture is not like the one before, and pixels agree so-so"
            return TrackingState.LOW_CONFIDENCE
        self.reason = ""
        return TrackingState.TRACKING

    @property
    def is_lost(self) -> bool:
        return self._lost >= LOST_FRAMES
