"""When a frame becomes a keyframe. A pure function of how a frame lies to the keyframe that it was tracked on."""

from __future__ import annotations

from dataclasses import dataclass

from spark3r_core.stream.tracked_frame import TrackedFrame


@dataclass(frozen=True)
class KeyframeRule:
    """Bounds beyond which the newest frame is mapped.

    least_overlap: share of the keyframe's points in view. most_distance: in the keyframe's median depths. most_turn:
    degrees. least_inliers: agreement that is still good but falling. old_frames, old_distance, old_turn: a keyframe
    that served so many frames is followed by the next once the camera has moved a little: one that stands still makes
    none.
    """

    least_overlap: float = 0.68
    most_distance: float = 0.22
    most_turn: float = 20.0
    least_inliers: float = 0.8
    old_frames: int = 40
    old_distance: float = 0.06
    old_turn: float = 5.0

    def reason(self, tracked: TrackedFrame, frames_on_keyframe: int) -> str:
        """Why this frame should be mapped; empty if it should not. A frame that is not aligned never is: its pose is a
        guess."""
        if not tracked.aligned:
            return ""
        moved = tracked.distance > self.old_distance or tracked.turn > self.old_turn
        if tracked.overlap < self.least_overlap:
            return "overlap"
        if tracked.distance > self.most_distance:
            return "distance"
        if tracked.turn > self.most_turn:
            return "turn"
        if tracked.inliers < self.least_inliers and moved:
            return "agreement"
        if frames_on_keyframe >= self.old_frames and moved:
            return "age"
        return ""
