"""PhotometricRefiner: the estimates of a stream, made to agree with its pixels."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.adjust import Adjusted, adjust, misfit
from spark3r_core.photometric.keyframe import Keyframe
from spark3r_core.photometric.motion import Motion
from spark3r_core.photometric.pyramid import grey_pyramid
from spark3r_core.stream.estimates import FrameEstimate

Array = NDArray[np.float64]

FOCAL_SIGMA = 0.03  # of the network's log focal length
KNOWN_CAMERA = 1e12  # precision of a focal length that was given
LEAST_INLIERS, LEAST_OVERLAP = 0.75, 0.3  # below, a frame was not aligned
LEAST_LIKENESS = 0.5  # likewise: there noise is as strong as what both show
SURE_INLIERS = 0.85  # below, another first guess is tried
NEXT_OVERLAP = 0.65  # when the newest frame sees less of the keyframe than this, it becomes the keyframe,
NEXT_DISTANCE = 0.25  # or when it is farther from it, in median depths,
NEXT_FRAMES = 40  # or when the keyframe has served so long
LEAST_POINTS = 50  # of the keyframe in view, for a pose and for a scale
NETWORK_FOCALS = 256  # newest ones, whose median counts


@dataclass(frozen=True)
class Refined:
    """frames: as given, world_from_camera, depth and intrinsics refined where that was possible.

    aligned: for each of them whether the pixels confirm it; the first frame of a map needs no confirmation.
    """

    frames: list[FrameEstimate]
    aligned: list[bool]


class PhotometricRefiner:
    """One stream's refinement; call `step` once per window.

    World and unit are those of the first valid frame's estimate. From then on the network gives depth, field of view
    and a first guess of each motion, and the pixels decide.
    """

    def __init__(self) -> None:
        self.keyframe: Keyframe | None = None
        self._log_focal = 0.0  # against the keyframe's intrinsics
        self._focal_prior = (0.0, FOCAL_SIGMA**-2)
        self._network_focals: list[float] = []  # of the frames aligned to the first keyframe, pixels
        self._scale = 1.0  # map units per network unit at the newest frame
        self._network: Array | None = None  # the newest frame's pose as the network has it
        self._motion = Motion()

    def fork(self) -> PhotometricRefiner:
        """The same stream, to be tried with a window and kept or forgotten: nothing of this one changes."""
        twin = copy.copy(self)
        twin._motion = copy.copy(self._motion)
        twin.keyframe = None if self.keyframe is None else replace(self.keyframe)
        return twin

    def step(
        self,
        images: Tensor,
        estimates: Sequence[FrameEstimate],
        times_s: Sequence[float] | None = None,
        intrinsics: Array | None = None,
    ) -> Refined:
        """Refine one window.

        Args:
            images: (n, 3, H, W) in [0, 1], any device.
            estimates: of these frames, in one gauge; those that failed pass through.
            times_s: when each was captured; None: at equal intervals.
            intrinsics: (3, 3) of the network input, where the camera is known.
        """
        times = list(times_s) if times_s is not None else self._motion.next_times(len(estimates))
        valid = [i for i, estimate in enumerate(estimates) if estimate.valid]
        frames, aligned = list(estimates), [False] * len(estimates)
        if not valid:
            return Refined(frames, aligned)
        pyramid = grey_pyramid(images[valid].float().cpu())
        if self.keyframe is None:
            first = valid[0]
            frames[first] = self._begin([level[0] for level in pyramid], estimates[first], times[first], intrinsics)
            aligned[first] = True
            valid, pyramid = valid[1:], [level[1:] for level in pyramid]
        if valid:
            new = [estimates[i] for i in valid]
            refined = self._align(pyramid, new, [times[i] for i in valid])
            for i, frame, good in zip(valid, refined.frames, refined.aligned, strict=True):
                frames[i], aligned[i] = frame, good
        return Refined(frames, aligned)

    def _begin(
        self, pyramid: list[Tensor], first: FrameEstimate, time_s: float, intrinsics: Array | None
    ) -> FrameEstimate:
        camera = first.intrinsics if intrinsics is None else intrinsics
        if intrinsics is not None:
            self._focal_prior = (0.0, KNOWN_CAMERA)
        pose = se3.require_se3(first.world_from_camera)
        self.keyframe = Keyframe.of(pose, pyramid, torch.from_numpy(first.depth), camera)
        self._network = first.world_from_camera
        self._motion.append(pose, time_s)
        return replace(first, world_from_camera=pose, intrinsics=camera)

    def _align(
        self, pyramid: list[Tensor], new: list[FrameEstimate], times_s: list[float], again: bool = True
    ) -> Refined:
        """Frames that are no first ones: adjusted together, then one by one given their place in the map.

        Where the keyframe went out of view within the window, the frames from there on are aligned once more, to the
        last one that was still aligned.
        """
        key = self.keyframe
        assert key is not None
        found = self._adjusted(pyramid, new, times_s)
        good = (found.inliers > LEAST_INLIERS) & (found.overlap > LEAST_OVERLAP) & (found.likeness > LEAST_LIKENESS)
        good &= found.overlap * len(key.levels[0].depth) >= LEAST_POINTS
        count = len(new)
        if good.all():
            key.nodes = found.nodes
            if self._focal_prior[1] < KNOWN_CAMERA:
                self._log_focal = found.log_focal
        elif again:
            count = max(1, int(np.argmin(good)))
        camera = self._intrinsics()
        frames, tie = [], None
        for i, (estimate, time_s) in enumerate(zip(new[:count], times_s[:count], strict=True)):
            if good[i]:
                pose = se3.compose(key.world_from_camera, se3.invert(found.camera_from_key[i]))
                pose = se3.require_se3(pose)  # rounding would grow from keyframe to keyframe
                tie = self._tie(estimate, pose, camera)
                if tie is not None:
                    self._scale = math.exp(tie[0])
            else:  # the pixels do not say: the network's motion from the frame before
                pose, tie = se3.require_se3(self._as_network_moves([estimate])[0]), None
            self._network = estimate.world_from_camera
            self._motion.append(pose, time_s)
            depth = estimate.depth * np.float32(self._scale)
            if tie is not None:
                depth *= depth_grid.factors(tie[1], *depth.shape)
            frames.append(replace(estimate, world_from_camera=pose, depth=depth, intrinsics=camera))
        key.frames += count
        if count < len(new) or self._is_over(found, bool(good[-1])):
            newest = [level[count - 1] for level in pyramid]
            focal_information = found.focal_information if good.all() else 0.0  # else of a focal length not taken
            self._next_keyframe(newest, new[count - 1], tie, camera, focal_information)
        aligned = [bool(one) for one in good[:count]]
        if count < len(new):
            rest = self._align([level[count:] for level in pyramid], new[count:], times_s[count:], again=False)
            return Refined(frames + rest.frames, aligned + rest.aligned)
        return Refined(frames, aligned)

    def _as_network_moves(self, new: Sequence[FrameEstimate]) -> list[Array]:
        """Poses that follow the newest one by the network's relative motions."""
        poses, pose, before = [], self._motion.newest, self._network
        assert before is not None
        for estimate in new:
            motion = se3.compose(se3.invert(before), estimate.world_from_camera)
            motion[:3, 3] *= self._scale
            pose, before = se3.compose(pose, motion), estimate.world_from_camera
            poses.append(pose)
        return poses

    def _adjusted(self, pyramid: list[Tensor], new: list[FrameEstimate], times_s: list[float]) -> Adjusted:
        """From the better of two first guesses, the network's motion and steady motion, or none where no speed is
        known; from both when in doubt."""
        key = self.keyframe
        assert key is not None
        guesses = [self._as_network_moves(new), self._motion.continued(times_s) or [self._motion.newest] * len(new)]
        from_key = [
            np.stack([se3.compose(se3.invert(pose), key.world_from_camera) for pose in poses]) for poses in guesses
        ]
        errors = [misfit(key, len(key.levels) - 1, pyramid[-1], poses, self._log_focal) for poses in from_key]
        from_key = [from_key[i] for i in np.argsort([error.mean() for error in errors])]
        focal_prior = self._prior_of_focal(new)
        past = self._motion.past(times_s, key.world_from_camera)
        found: list[Adjusted] = []
        for guess in from_key:
            found.append(adjust(key, pyramid, guess, self._log_focal, focal_prior, past))
            if found[-1].inliers.min() > SURE_INLIERS:
                break
        return max(found, key=lambda one: float((one.inliers * one.overlap).min()))

    def _prior_of_focal(self, new: Sequence[FrameEstimate]) -> tuple[float, float]:
        """Mean and precision of the log focal length against the keyframe's.

        One frame's is a guess, so with the first keyframe the median of what the network said so far counts.
        """
        mean, precision = self._focal_prior
        key = self.keyframe
        assert key is not None
        if precision == FOCAL_SIGMA**-2:
            newest = [float(estimate.intrinsics[0, 0]) for estimate in new]
            self._network_focals = (self._network_focals + newest)[-NETWORK_FOCALS:]
            mean = math.log(float(np.median(self._network_focals)) / float(key.intrinsics[0, 0]))
        return mean, precision

    def _intrinsics(self) -> Array:
        """(3, 3) as known now."""
        assert self.keyframe is not None
        wider = math.exp(self._log_focal)
        return self.keyframe.intrinsics * np.array([[wider, 1, 1], [1, wider, 1], [1, 1, 1]])

    def _tie(
        self, estimate: FrameEstimate, world_from_camera: Array, camera: Array
    ) -> tuple[float, Array, Array] | None:
        """Scale and correction of a frame's depth by the keyframe's points in view (`depth_grid.fit`); None when too
        few are."""
        key = self.keyframe
        assert key is not None
        nodes = torch.from_numpy(key.nodes).float()
        points = key.levels[0].camera_points(nodes, self._log_focal).double().numpy()
        camera_from_key = se3.compose(se3.invert(world_from_camera), key.world_from_camera)
        x, y, z = (points @ camera_from_key[:3, :3].T + camera_from_key[:3, 3]).T
        height, width = estimate.depth.shape
        ahead = np.where(z > depth_grid.MIN_DEPTH, z, np.inf)
        u, v = camera[0, 0] * x / ahead + camera[0, 2], camera[1, 1] * y / ahead + camera[1, 2]
        inside = np.isfinite(ahead) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        u, v, z = u[inside], v[inside], z[inside]
        by_network = estimate.depth[v.astype(int), u.astype(int)]
        known = np.isfinite(by_network) & (by_network > depth_grid.MIN_DEPTH)
        if known.sum() < LEAST_POINTS:
            return None
        u, v, z, by_network = u[known], v[known], z[known], by_network[known]
        return depth_grid.fit(np.log(z / by_network), np.stack([u / width, v / height], -1))

    def _is_over(self, found: Adjusted, good: bool) -> bool:
        """Whether the newest frame should be the next keyframe."""
        key = self.keyframe
        assert key is not None
        moved = float(np.linalg.norm(found.camera_from_key[-1, :3, 3]))
        far = moved > NEXT_DISTANCE * float(key.levels[0].depth.median())
        return not good or found.overlap[-1] < NEXT_OVERLAP or far or key.frames >= NEXT_FRAMES

    def _next_keyframe(
        self,
        pyramid: list[Tensor],
        newest: FrameEstimate,
        tie: tuple[float, Array, Array] | None,
        camera: Array,
        focal_information: float,
    ) -> None:
        """The newest frame, its depth tied to the old keyframe's where both see the same."""
        nodes, precision = np.zeros(depth_grid.NODES), depth_grid.prior_precision()
        if tie is not None:
            _, nodes, information = tie
            precision = precision + information
        depth = torch.from_numpy(newest.depth) * self._scale
        self.keyframe = Keyframe.of(self._motion.newest, pyramid, depth, camera, nodes, precision)
        self._log_focal = 0.0
        self._focal_prior = (0.0, self._focal_prior[1] + focal_information)
