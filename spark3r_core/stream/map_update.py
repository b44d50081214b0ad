"""What tracker and mapper say to each other: a request is what the tracker knew when it asked, an update is what it may
adopt. They share nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.photometric.levels import Level
from spark3r_core.stream.camera_sizes import CameraSizes
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.estimates import WindowResult
from spark3r_core.stream.keyframe_map import Keyframe
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.tracked_frame import TrackedFrame

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class KeyframeRequest:
    """A frame to be mapped.

    picture: (H, W, 3) uint8 RGB, undistorted. pyramid: at the tracker's size. intrinsics: (3, 3) of the picture where
    the user gave the camera. tracked: on the keyframe before; None where the frame begins a map. points: (N, 3) of that
    keyframe, depth corrected, in this camera; None likewise. lost: tracking does not know where it is; it is mapped if
    it is recognised as a place of the map, and only then. hint: what another sensor said of the frame. wants_bends:
    whether the update, and the last adjustment, are to say by what depth is off.
    """

    frame_id: int
    time_s: float
    picture: Pixels
    sizes: CameraSizes
    pyramid: list[Level]
    intrinsics: Array | None = None
    tracked: TrackedFrame | None = None
    points: NDArray[np.float32] | None = None
    odom_from_camera: Array = field(default_factory=lambda: np.eye(4))
    lost: bool = False
    hint: MotionHint | None = None
    wants_bends: bool = False


@dataclass(frozen=True)
class MapUpdate:
    """What mapping one keyframe gave. moved: where keyframes lie from now on, the new one included, by frame id.
    focal, focal_std: see `KeyframeMap`.

    reference: for the tracker; None where the picture has too little texture to track on, or the network failed.
    map_bytes: of the map. dropped: keyframes that left it to keep its budget; what was published of them stays.
    refined: depth of keyframes from several views, by frame id, in their own cameras and units; of the last adjustment.
    loops: pairs of keyframes (earlier, later) that were found to show one place. found_by: the keyframe by which a lost
    frame was recognised. agrees: whether adjustment left the keyframe about where it was put; None where it cannot say
    and features do not contradict tracking either.
    part: first keyframe of the map that all of this is said of, None where nothing was mapped. It is another than
    before where the map was joined to one that was given up, or a lost frame was recognised in that.
    moved_beside: where keyframes of maps that were given up lie from now on, each in its own; of the last adjustment.
    denied: a tracked frame was not mapped since its features are not those of the place where tracking says it is.
    bends: of keyframes that moved, where they were asked for, see `depth_bends`.
    """

    frame_id: int
    keyframe: Keyframe | None
    reference: Reference | None
    moved: dict[int, Sim3]
    window: WindowResult | None
    focal: float
    focal_std: float
    failure: str = ""
    adjusted: bool = False
    map_ns: int = 0
    map_bytes: int = 0
    dropped: tuple[int, ...] = ()
    refined: dict[int, DenseDepth] = field(default_factory=dict)
    loops: tuple[tuple[int, int], ...] = ()
    found_by: int | None = None
    part: int | None = None
    denied: bool = False
    agrees: bool | None = None
    moved_beside: dict[int, Sim3] = field(default_factory=dict)
    bends: dict[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class MapOptions:
    """What is done with keyframes.

    adjusts: whether they are adjusted together (bundle adjustment), and depth is read off several of them; without, it
    is an odometer, for comparison. closes_loops: whether places are recognised and loops closed; needs adjustment.
    max_bytes: of the map; beyond it keyframes are dropped (`map_budget`). None: no limit.
    """

    adjusts: bool = True
    closes_loops: bool = True
    max_bytes: int | None = None
