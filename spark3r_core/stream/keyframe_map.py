"""The map: keyframes with pose, scale, depth and features, and what joins them. Nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import Features
from spark3r_core.features.tracks import Tracks
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.places.agreement import Places
from spark3r_core.stream.camera_sizes import intrinsics_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Keyframe:
    """A keyframe of the map.

    world_from_camera: (4, 4) rigid. scale: units of the map per unit of its depth, which is odom's. depth, confidence:
    (h, w) at the network's size. depth_intrinsics: (3, 3) of them. picture_from_depth: (3, 3) pixel map.
    features: of its picture; feature_depth: (N,) its depth at them, nan where unknown. picture: the picture as a JPEG,
    see `kept_picture`; empty where it is not kept. small_picture: (h, w, 3) uint8 RGB, see `dense`; None where depth
    from several views is not wanted.
    """

    frame_id: int
    time_s: float
    world_from_camera: Array
    scale: float
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    depth_intrinsics: Array
    picture_from_depth: Array
    features: Features
    feature_depth: Array
    picture: bytes = b""
    small_picture: NDArray[np.uint8] | None = None

    @property
    def map_from_keyframe(self) -> Sim3:
        """Takes what is given in the keyframe's camera, in the unit of its depth, to the map."""
        return Sim3(self.scale, self.world_from_camera[:3, :3], self.world_from_camera[:3, 3])

    @property
    def nbytes(self) -> int:
        maps = self.depth.nbytes + self.confidence.nbytes
        small = 0 if self.small_picture is None else self.small_picture.nbytes
        return maps + self.features.nbytes + self.feature_depth.nbytes + len(self.picture) + small

    def moved(self, world_from_camera: Array, scale: float) -> Keyframe:
        return replace(self, world_from_camera=world_from_camera, scale=scale)


@dataclass(frozen=True)
class TrackedEdge:
    """second_from_first (4, 4), translation in the unit of the first one's depth, as tracking had it; information:
    (6, 6) of its twist [rho, phi] from the left."""

    first: int
    second: int
    second_from_first: Array
    information: Array


@dataclass
class KeyframeMap:
    """Keyframes by frame id, the tracks their features make, and the edges that tracking made.

    focal: pixels of the picture; focal_std: of its logarithm, inf while only a network has said so; settled_focal: what
    it was when it became known, zero before; network_focals: what the network said for each keyframe. given_camera:
    (3, 3) of the picture, where the user knows it. matched: pairs (earlier, later) whose features were. picture_hw:
    pixels of every keyframe's picture. places: what is recognised of them. fixed: keyframes that stay where they are
    and are never dropped, whatever is adjusted: those of a map that is only read. measured: edges that another sensor
    made; a saved map has none.
    """

    keyframes: dict[int, Keyframe] = field(default_factory=dict)
    tracks: Tracks = field(default_factory=Tracks)
    edges: list[TrackedEdge] = field(default_factory=list)
    focal: float = 0.0
    focal_std: float = float("inf")
    settled_focal: float = 0.0
    given_camera: Array | None = None
    network_focals: list[float] = field(default_factory=list)
    matched: set[tuple[int, int]] = field(default_factory=set)
    picture_hw: tuple[int, int] = (0, 0)
    places: Places = field(default_factory=Places)
    fixed: frozenset[int] = frozenset()
    measured: list[TrackedEdge] = field(default_factory=list)

    @property
    def order(self) -> list[int]:
        return sorted(self.keyframes)

    @property
    def newest(self) -> Keyframe:
        return self.keyframes[max(self.keyframes)]

    @property
    def nbytes(self) -> int:
        return sum(keyframe.nbytes for keyframe in self.keyframes.values()) + self.places.index.nbytes

    def draft(self) -> KeyframeMap:
        """A map to work on: nothing that is done to it, short of writing into arrays, is seen in this one."""
        return replace(
            self,
            keyframes=dict(self.keyframes),
            tracks=self.tracks.copy(),
            edges=list(self.edges),
            measured=list(self.measured),
            network_focals=list(self.network_focals),
            matched=set(self.matched),
        )

    def camera_of(self, picture_hw: tuple[int, int]) -> Array:
        """(3, 3) of the picture as known now."""
        return intrinsics_of(self.focal, picture_hw) if self.given_camera is None else self.given_camera

    def camera_from_world(self, frame_id: int) -> Array:
        return np.asarray(se3.invert(self.keyframes[frame_id].world_from_camera))

    def placed(self, before: KeyframeMap | None = None) -> dict[int, Sim3]:
        """Where keyframes lie; with `before` only those that moved since."""
        return {
            frame_id: keyframe.map_from_keyframe
            for frame_id, keyframe in self.keyframes.items()
            if before is None
            or frame_id not in before.keyframes
            or before.keyframes[frame_id].world_from_camera is not keyframe.world_from_camera
            or before.keyframes[frame_id].scale != keyframe.scale
        }
