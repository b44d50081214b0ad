"""From numbers to a state a robot can act on. Pure: the same history gives the same states.

Three signals: the network's own confidence, relative to what this stream has shown so far; whether pixels confirm the
poses, where these are refined; and the shift of the support frames, which are estimated anew in every window and should
not move. Once pixels have confirmed a pose, where the network would put it does not matter.

TRACKING means consistent, LOW_CONFIDENCE usable with care, LOST that the pose means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from spark3r_stream.wire.messages import TrackingState


@dataclass(frozen=True)
class HealthConfig:
    """Thresholds; angles in degrees, translations over the support frame's median depth.

    Shifts of a consistent map are a few tenths of a degree and of a percent; a window that disagrees with the map by
    tens of degrees has lost it. lost_windows: so many bad windows in a row make the stream LOST.
    """

    low_shift_deg: float = 5.0
    low_shift_depths: float = 0.15
    bad_shift_deg: float = 30.0
    bad_shift_depths: float = 1.0
    low_confidence_ratio: float = 0.5
    lost_windows: int = 3
    settle_windows: int = 2


@dataclass
class HealthMonitor:
    """Call `update` once per window, `new_epoch` when the source was interrupted.

    reason: why the last state was not TRACKING, for people; empty if it was.
    """

    config: HealthConfig = field(default_factory=HealthConfig)
    reason: str = ""
    _typical_confidence: float | None = None
    _bad_windows: int = 0
    _settling: int = 0

    def new_epoch(self) -> None:
        """After an interruption the state is LOW_CONFIDENCE until some consistent windows prove the map still holds."""
        self._settling = self.config.settle_windows

    @property
    def consistent(self) -> bool:
        """Whether the last window agreed with the map, or there was none yet."""
        return self._bad_windows == 0

    def update(
        self,
        confidence: float,
        support_shift: tuple[float, float] | None,
        valid: bool,
        confirmed: Sequence[bool] | None = None,
    ) -> TrackingState:
        """State after one window.

        Args:
            confidence: mean over the window's new frames, in (0, 1).
            support_shift: (degrees, median depths) from the session; None in a first window.
            valid: whether any frame of the window has a finite estimate.
            confirmed: of each new frame; None where poses are not refined.
        """
        degrees, depths = support_shift if support_shift is not None and not any(confirmed or ()) else (0.0, 0.0)
        cfg = self.config
        shift = f"known frames moved by {degrees:.1f} degrees and {depths:.2f} of their depth"
        self.reason = ""
        if not valid or not math.isfinite(confidence):
            self.reason = "no frame of the window has a valid estimate"
        elif degrees > cfg.bad_shift_deg or depths > cfg.bad_shift_depths:
            self.reason = shift
        if self.reason:
            self._bad_windows += 1
            return TrackingState.LOST if self._bad_windows >= cfg.lost_windows else TrackingState.LOW_CONFIDENCE
        self._bad_windows = 0
        typical = confidence if self._typical_confidence is None else self._typical_confidence
        self._typical_confidence = 0.95 * typical + 0.05 * confidence
        if degrees > cfg.low_shift_deg or depths > cfg.low_shift_depths:
            self.reason = shift
        elif confidence < cfg.low_confidence_ratio * typical:
            self.reason = f"the confidence is {confidence:.2f}, usually {typical:.2f}"
        elif confirmed is not None and not all(confirmed):
            self.reason = f"the pixels confirm only {sum(confirmed)} of {len(confirmed)} poses; the rest are guesses"
        elif self._settling:
            self._settling -= 1
            self.reason = "after an interruption, this camera has yet to prove that it is where the map says"
        return TrackingState.LOW_CONFIDENCE if self.reason else TrackingState.TRACKING
