"""Tracker: every frame, at camera rate, against the newest keyframe whose depth is known.

A frame is aligned to the keyframe's pixels from a prediction of steady motion, or from what another sensor says of its
motion; where that is in doubt, from standing still and from a guess by features. What it learns of the keyframe's depth
and of the focal length stays for the frames after it. Nothing here waits for a network. A frame that the pixels do not
confirm gives a guess and changes nothing: it is neither speed, nor knowledge, nor a keyframe.

Poses are kept in `odom`, the smooth frame of reference that never jumps (REP-105): keyframes are chained by the poses
with which they were tracked. Where a keyframe lies in the map is the mapper's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.photometric.align import Aligned, align, correlation
from spark3r_core.photometric.frame_residuals import misfit
from spark3r_core.photometric.knowledge import HELD
from spark3r_core.photometric.levels import Level
from spark3r_core.photometric.motion import Motion
from spark3r_core.photometric.priors import SLOWEST, SPEED_CHANGE, Past
from spark3r_core.stream.feature_guess import FeatureGuess
from spark3r_core.stream.motion_hint import MeasuredTurn, MotionHint, StepStds
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.tracked_frame import TrackedFrame

Array = NDArray[np.float64]
Guess = Callable[[], FeatureGuess | None]
"""Finds camera_from_key by features, when asked; None when it cannot."""

LEAST_INLIERS, LEAST_OVERLAP, LEAST_LIKENESS = 0.72, 0.3, 0.5  # below, a frame was not aligned
INLIERS_FALL = 0.08  # so much less than for the frame before: features are asked, since the camera may have jumped
LEAST_ALIKE = 0.65  # correlation of a picture with the one before, much blurred: less is a cut, or a leap
SURE_INLIERS = 0.85  # below, another first guess is tried
ASKED_EVERY = 3  # of frames in a row that are not aligned, features are asked for one: a tracker must not fall behind
DOUBTED_AFTER = (2, 4, 8, 16, 32, 64)  # frames on a keyframe: then what was learnt of its depth is doubted
FRESH_BETTER = 0.8  # of the error, below which a frame that begins from the keyframe's first depth is believed instead
LEAST_POINTS = 60  # of a keyframe in view, and of a picture that may become one
UNKNOWN_SPEED = 1e3  # map units per frame
CLOCK_TURN = 0.001  # radians, by which clocks and axes put every measured turn off
CALIBRATED_SIGMAS = 6.0  # pixel residuals depend on each other: factor of the standard deviation, from synthetic worlds


@dataclass
class Tracker:
    """Tracks the frames of one camera; call `adopt` with the first keyframe, then `track` per frame.

    lost_frames: frames in a row that were not aligned. last_inliers: of the frame before. lost_way: the
    way to the keyframe was wrong: the next frame is found by features, and speed begins anew. newest_hint: of the frame
    at `motion.newest`. broke_at: the newest frame that was not aligned, agreed much less than the one before, or is
    unlike it; blurred: that one, much blurred.
    """

    reference: Reference | None = None
    motion: Motion = field(default_factory=Motion)
    lost_frames: int = 0
    last_inliers: float = 1.0
    lost_way: bool = False
    newest_hint: MotionHint | None = None
    broke_at: int = -1
    blurred: NDArray[np.float32] | None = None

    def adopt(self, reference: Reference, pose_time_s: float | None = None) -> None:
        """Track on this keyframe from now on. pose_time_s: when it was taken, where it begins a map."""
        self.reference = reference
        self.lost_way = reference.mended
        if pose_time_s is not None:
            self.motion = Motion()
            self.motion.append(reference.odom_from_key, pose_time_s)
            self.newest_hint = reference.hint
            self.lost_frames = 0

    def track(
        self,
        frame_id: int,
        pyramid: list[Level],
        time_s: float,
        by_features: Guess,
        hint: MotionHint | None = None,
    ) -> TrackedFrame:
        """Align one frame. by_features: asked only where alignment is in doubt. hint: of another sensor."""
        key = self.reference
        assert key is not None, "no keyframe was adopted"
        hinted, unhinted = self._hinted(time_s, hint), self._predictions(time_s)
        predicted = [*hinted, *unhinted]
        guessed = predicted[0] if not self.lost_frames else (hinted or unhinted)[-1]
        past = self.motion.past([time_s], key.odom_from_key) if not (self.lost_frames or self.lost_way) else None
        measured = None
        stds = None if hint is None or self.newest_hint is None else self.newest_hint.stds_to(hint)
        if hint is not None and hint.is_sure and hinted:
            turned = float(se3.relative_angle(hinted[0], unhinted[-1]))
            measured = MeasuredTurn(hinted[0], turned, 0.0 if stds is None else stds.turn)
            past = _expecting(hinted[0], past, stds)
        if self.lost_way and (guess := by_features()) is not None:
            predicted.insert(0, guess.camera_from_key)
        by_feature_guess = False
        coarsest = len(key.levels) - 1
        errors = [misfit(key.levels[coarsest], pyramid[coarsest], guess, key.known) for guess in predicted]
        order = np.argsort(errors, kind="stable")
        best = align(key.levels, pyramid, predicted[order[0]], key.known, past, fixed_focal=True)
        if past is not None and best.inliers < SURE_INLIERS:  # it may have moved in another way than before
            again = align(key.levels, pyramid, best.camera_from_key, key.known, None, fixed_focal=True)
            best = self._better(best, again)
        for index in order[1:]:
            if self._good(best, measured):
                break
            best = self._better(best, align(key.levels, pyramid, predicted[index], key.known, past, fixed_focal=True))
        fell = best.inliers < self.last_inliers - INLIERS_FALL
        if fell or (not self._good(best, measured) and self.lost_frames % ASKED_EVERY == 0):
            guess = by_features()
            if guess is not None:
                again = align(key.levels, pyramid, guess.camera_from_key, key.known, None, fixed_focal=True)
                if self._good(again, measured) and (
                    not self._good(best, measured) or self._is_righter(guess, again, best)
                ):
                    best, by_feature_guess = again, True
        if key.frames + 1 in DOUBTED_AFTER:
            best = self._doubted(best, pyramid, measured)
        if self._breaks(best, pyramid[-1].channels[..., 0]):
            self.broke_at = frame_id
        self.last_inliers = best.inliers
        return self._take(frame_id, best, guessed, time_s, by_feature_guess, hint, measured)

    @property
    def fixed_focal(self) -> bool:
        return self.reference is not None and self.reference.known.information[-1, -1] >= HELD

    def _predictions(self, time_s: float) -> list[Array]:
        """camera_from_key (4, 4): steady motion, and standing still."""
        key = self.reference
        assert key is not None
        odom = [self.motion.newest]
        going_on = self.motion.continued([time_s])
        if going_on is not None:
            odom.insert(0, going_on[0])
        return [se3.compose(se3.invert(pose), key.odom_from_key) for pose in odom]

    def _hinted(self, time_s: float, hint: MotionHint | None) -> list[Array]:
        """camera_from_key (4, 4) by another sensor; one that knows turns only turns the camera at each place where it
        may be. Empty without a hint for the newest confirmed frame and this one."""
        key = self.reference
        assert key is not None
        # where the way to the keyframe was wrong, so is the newest camera; the keyframe is only some frames old then
        start, before = (key.odom_from_key, key.hint) if self.lost_way else (self.motion.newest, self.newest_hint)
        step = None if hint is None or before is None else before.to(hint)
        if hint is None or before is None or step is None:
            return []
        stepped = se3.compose(start, step)
        if hint.position_xyz is not None and before.position_xyz is not None:
            return [se3.compose(se3.invert(stepped), key.odom_from_key)]
        key_from_odom = se3.invert(key.odom_from_key)
        found = []
        for camera_from_key in self._predictions(time_s):
            pose = se3.compose(key.odom_from_key, se3.invert(camera_from_key))
            turned = se3.make_pose(stepped[:3, :3], pose[:3, 3])
            found.append(se3.invert(se3.compose(key_from_odom, turned)))
        return found

    def _breaks(self, found: Aligned, blurred: NDArray[np.float32]) -> bool:
        """Whether a picture, much blurred, is unlike the one before, or agrees much less with the same keyframe."""
        before, self.blurred = self.blurred, blurred
        if before is None or before.shape != blurred.shape:
            return True
        is_first = self.reference is None or not self.reference.frames  # another keyframe agrees otherwise
        fell = not is_first and found.inliers < self.last_inliers - INLIERS_FALL
        return fell or correlation(before.ravel(), blurred.ravel()) < LEAST_ALIKE

    def _good(self, found: Aligned, measured: MeasuredTurn | None = None) -> bool:
        """measured: of camera_from_key, which it must have."""
        return (
            found.inliers > LEAST_INLIERS
            and found.overlap > LEAST_OVERLAP
            and found.likeness > LEAST_LIKENESS
            and found.visible >= LEAST_POINTS
            and (measured is None or measured.is_in(found.camera_from_key))
        )

    def _doubted(self, best: Aligned, pyramid: list[Level], measured: MeasuredTurn | None) -> Aligned:
        """The frame aligned once more without what was learnt, where that explains it better by far.

        While the camera has hardly moved, a scene and its relief turned inside out look alike, with the camera moving
        the other way (the bas-relief ambiguity: Belhumeur, Kriegman, Yuille, 1999). A keyframe whose first frames took
        the wrong one of the two bends its depth to it, and steady motion keeps to it. With distance the other one fits
        better, but only without both.
        """
        key = self.reference
        assert key is not None
        fresh = align(key.levels, pyramid, best.camera_from_key, key.first_known, None, fixed_focal=True)
        if not self._good(fresh, measured) or fresh.cost > FRESH_BETTER * best.cost:
            return best
        self.motion = Motion()
        return fresh

    @classmethod
    def _is_righter(cls, guess: FeatureGuess, a: Aligned, b: Aligned) -> bool:
        """Whether a is, by pixels or by features: where a pattern repeats, pixels agree in more places than one."""
        return cls._better(b, a) is a or guess.agreeing(a.camera_from_key) > 2 * guess.agreeing(b.camera_from_key)

    @staticmethod
    def _better(a: Aligned, b: Aligned) -> Aligned:
        return b if b.inliers * b.overlap > a.inliers * a.overlap else a

    def _take(
        self,
        frame_id: int,
        found: Aligned,
        predicted: Array,
        time_s: float,
        by_features: bool,
        hint: MotionHint | None,
        measured: MeasuredTurn | None,
    ) -> TrackedFrame:
        """Commit what one frame gave. predicted: camera_from_key (4, 4), where it is not aligned; measured: the
        turn that it must have to be."""
        key = self.reference
        assert key is not None
        good, doubt = self._good(found, measured), ""
        if good:
            camera_from_key = found.camera_from_key
            key.known = found.knowledge
            key.frames += 1
            self.lost_frames = 0
        else:
            camera_from_key = predicted
            self.lost_frames += 1
            self.broke_at = frame_id
            doubt = _doubt(found) if not self._good(found) else "the pixels fit another turn than the one measured"
        key_from_camera = se3.require_se3(se3.invert(camera_from_key))
        odom_from_camera = se3.require_se3(se3.compose(key.odom_from_key, key_from_camera))
        if good:
            if self.lost_way or by_features:  # it did not come here by steady motion
                self.motion, self.lost_way = Motion(), False
            self.motion.append(odom_from_camera, time_s)
            self.newest_hint = hint
        covariance = found.covariance * CALIBRATED_SIGMAS**2
        turn = math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(key_from_camera[:3, :3])) - 1) / 2))))
        distance = float(np.linalg.norm(key_from_camera[:3, 3])) / max(key.median_depth, 1e-9)
        return TrackedFrame(
            frame_id,
            key.frame_id,
            key_from_camera,
            odom_from_camera,
            good,
            found.inliers,
            found.overlap,
            found.likeness,
            distance,
            turn,
            covariance,
            key.camera(),
            doubt,
            by_features,
            key.confirmed,
            self.broke_at < key.frame_id,
            self.broke_at == frame_id,
            hint,
            *_way(key.hint, hint),
            key.focal_std,
        )


def _way(key: MotionHint | None, hint: MotionHint | None) -> tuple[Array | None, StepStds | None]:
    """From the keyframe's camera to the frame's, (4, 4), by a sensor that is sure of it; and its deviations."""
    if key is None or hint is None or not hint.is_sure:
        return None, None
    way, stds = key.to(hint), key.stds_to(hint)
    return (None, None) if way is None or (stds is not None and stds.is_loose) else (way, stds)


def _expecting(camera_from_key: Array, past: Past | None, stds: StepStds | None) -> Past:
    """A past from which steady motion leads to this pose (4, 4): what is trusted of steady motion is then trusted of
    what was measured, or as much as the sensor says. past: what the speed is; without, nothing is expected of the
    distance."""
    speed, step = (UNKNOWN_SPEED, 1.0) if past is None else (past.speed, float(past.steps[1]))
    expected, steps = np.stack([camera_from_key, camera_from_key]), np.array([step, step])
    if stds is None:
        return Past(expected, speed, steps)
    place = math.hypot(stds.place, SLOWEST) if math.isfinite(stds.place) else SPEED_CHANGE * speed + SLOWEST
    return Past(expected, speed, steps, np.array([place] * 3 + [math.hypot(stds.turn, CLOCK_TURN)] * 3))


def _doubt(found: Aligned) -> str:
    if found.overlap <= LEAST_OVERLAP or found.visible < LEAST_POINTS:
        return f"only {found.overlap:.0%} of the keyframe is in view"
    if found.likeness <= LEAST_LIKENESS:
        return f"the picture is not like the keyframe (correlation {found.likeness:.2f})"
    return f"only {found.inliers:.0%} of the pixels agree with the keyframe"
