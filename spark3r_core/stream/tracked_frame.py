"""What tracking says of one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.assumed import NETWORK_FOCAL_SIGMA
from spark3r_core.stream.motion_hint import MotionHint, StepStds

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrackedFrame:
    """One frame on its keyframe.

    key_from_camera, odom_from_camera: (4, 4). aligned: the pixels confirm the pose; otherwise it is a guess.
    inliers, overlap, likeness: see `align.Aligned`; zero where nothing was aligned. distance: from the keyframe, in its
    median depths; turn: in degrees. covariance: (6, 6) of key_from_camera, twist [rho, phi] in the camera's frame.
    camera: (3, 3) at the tracker's size. doubt: why it is not aligned; empty if it is. on_confirmed: whether
    its keyframe is. unbroken: whether each frame since its keyframe was aligned, with pixels that agreed about as they
    did for the frame before, and is like it: nobody has carried the camera away. broken: whether that ends with this
    frame. hint: what another sensor said of it; hinted_key_from_camera: (4, 4) by that sensor, if it is sure, None
    where it does not say, or only loosely; without a translation if it knows turns only. hinted_stds: of it, where the
    sensor says that. focal_std: of its keyframe.
    """

    frame_id: int
    keyframe_id: int
    key_from_camera: Array
    odom_from_camera: Array
    aligned: bool
    inliers: float
    overlap: float
    likeness: float
    distance: float
    turn: float
    covariance: Array
    camera: Array
    doubt: str = ""
    guessed_by_features: bool = False
    on_confirmed: bool = True
    unbroken: bool = False
    broken: bool = False
    hint: MotionHint | None = None
    hinted_key_from_camera: Array | None = None
    hinted_stds: StepStds | None = None
    focal_std: float = 0.0

    @property
    def off_by_focal(self) -> float:
        """How far the place may be off because the focal length is, in the keyframe's median depths: with one that is
        too long by a tenth, a tenth of a turn is taken for a way. Nothing is said of a turn that another sensor
        measured: who has one asks where the camera looks."""
        if self.hinted_key_from_camera is not None:
            return 0.0
        return min(self.focal_std, NETWORK_FOCAL_SIGMA) * math.radians(self.turn)
