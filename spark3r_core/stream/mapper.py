"""Mapper: keyframes through the network, tied to the map, adjusted with their neighbours.

It runs beside the tracker, one request at a time, and shares nothing with it: a request is what the tracker knew when
it asked, an update is what it may adopt. Determinism follows from the order of requests alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import extract
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.align import Level
from spark3r_core.stream.camera_sizes import CameraSizes, focal_of, intrinsics_of, resampled
from spark3r_core.stream.feature_guess import FeaturePoints
from spark3r_core.stream.session import StreamSession, WindowResult
from spark3r_core.stream.tracker import Reference, TrackedFrame

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

FOCAL_SIGMA = 0.02  # of the log focal length, what one keyframe may learn of it before adjustment does
LEAST_TIES = 50  # points of the old keyframe in view, for a scale


@dataclass(frozen=True)
class KeyframeRequest:
    """A frame to be mapped.

    picture: (H, W, 3) uint8 RGB, undistorted. pyramid: at the tracker's size. intrinsics: (3, 3) of the picture where
    the user gave the camera. tracked: on the keyframe before; None where the frame begins a map. points: (N, 3) of that
    keyframe, depth corrected, in this camera; None likewise.
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


@dataclass
class Keyframe:
    """A keyframe of the map.

    world_from_camera: (4, 4) rigid. scale: units of the map per unit of its depth (that of odom). depth, confidence:
    (h, w) at the network's size. depth_intrinsics: (3, 3) of them.
    """

    frame_id: int
    world_from_camera: Array
    scale: float
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    depth_intrinsics: Array
    picture_from_depth: Array
    time_s: float

    @property
    def map_from_keyframe(self) -> Sim3:
        return Sim3(self.scale, self.world_from_camera[:3, :3], self.world_from_camera[:3, 3])


@dataclass(frozen=True)
class MapUpdate:
    """What mapping one keyframe gave. moved: where keyframes lie from now on, the new one included, by frame id.

    reference: for the tracker; None where the picture has too little texture to track on, or the network failed.
    """

    frame_id: int
    keyframe: Keyframe | None
    reference: Reference | None
    moved: dict[int, Sim3]
    window: WindowResult | None
    focal: float
    failure: str = ""
    adjusted: bool = False
    map_ns: int = 0


class Mapper:
    """One map of one camera.

    Args:
        model: any backbone.
        memory: of its attention; one new frame per window.
    """

    def __init__(self, model: Backbone, memory: MemoryConfig) -> None:
        self.model = model
        self.session = StreamSession(model, memory, refine=False, tied=True)
        self.keyframes: dict[int, Keyframe] = {}
        self.focal: float | None = None  # pixels of the picture
        self._network_focals: list[float] = []

    def map(self, request: KeyframeRequest) -> MapUpdate:
        """Map one keyframe. Nothing of the map changes if anything is raised."""
        started_ns = time.perf_counter_ns()
        image, network_from_picture = request.sizes.for_network(request.picture)
        window = self.session.step(image.transpose(2, 0, 1)[None], [request.frame_id])
        estimate = window.frames[0]
        if not estimate.valid:
            return self._failed(request, window, estimate.failure or "no estimate", started_ns)
        picture_from_network = np.linalg.inv(network_from_picture)
        if request.intrinsics is not None:
            camera = request.intrinsics
            self.focal = focal_of(camera)
        else:
            self._network_focals.append(focal_of(picture_from_network @ estimate.intrinsics))
            if self.focal is None:
                self.focal = self._network_focals[-1]
            elif request.tracked is not None:
                self.focal = focal_of(np.linalg.inv(request.sizes.tracker(request.picture)[1]) @ request.tracked.camera)
            camera = intrinsics_of(self.focal, request.sizes.picture_hw)
        depth_intrinsics = network_from_picture @ camera
        depth, node_information = self._tied(request, estimate.depth, depth_intrinsics)
        previous = None if request.tracked is None else self.keyframes[request.tracked.keyframe_id]
        if previous is None:
            pose, scale = np.eye(4), 1.0
        else:
            relative = request.tracked.key_from_camera.copy()  # type: ignore[union-attr]
            relative[:3, 3] *= previous.scale
            pose, scale = se3.require_se3(se3.compose(previous.world_from_camera, relative)), previous.scale
        keyframe = Keyframe(
            request.frame_id,
            pose,
            scale,
            depth,
            estimate.confidence,
            depth_intrinsics,
            picture_from_network,
            request.time_s,
        )
        self.keyframes[request.frame_id] = keyframe
        self.session.settle({request.frame_id: pose}, {request.frame_id: _ratio(depth, estimate.depth) * scale})
        tracker_from_picture = request.sizes.tracker(request.picture)[1]
        tracker_depth = resampled(depth, tracker_from_picture @ picture_from_network, request.sizes.tracker.image_hw)
        features = extract(request.picture)
        feature_points = FeaturePoints.of(features, depth, camera, request.sizes.picture_hw, network_from_picture)
        reference = Reference.of(
            request.frame_id,
            request.pyramid,
            tracker_depth,
            tracker_from_picture @ camera,
            request.odom_from_camera,
            node_information,
            None if request.intrinsics is not None else FOCAL_SIGMA,
            feature_points,
        )
        return MapUpdate(
            request.frame_id,
            keyframe,
            reference if reference.has_texture else None,
            {request.frame_id: keyframe.map_from_keyframe},
            window,
            self.focal,
            "" if reference.has_texture else "the picture has too little texture to track on",
            map_ns=time.perf_counter_ns() - started_ns,
        )

    def _tied(
        self, request: KeyframeRequest, depth: NDArray[np.float32], camera: Array
    ) -> tuple[NDArray[np.float32], Array | None]:
        """The network's depth in the unit of odom, bent to the points of the keyframe before; and how well they know
        each node."""
        if request.points is None:
            return depth, None
        x, y, z = request.points.astype(np.float64).T
        ahead = np.where(z > depth_grid.MIN_DEPTH, z, np.inf)
        u, v = camera[0, 0] * x / ahead + camera[0, 2], camera[1, 1] * y / ahead + camera[1, 2]
        height, width = depth.shape
        inside = np.isfinite(ahead) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        u, v, z = u[inside], v[inside], z[inside]
        by_network = depth[v.astype(int), u.astype(int)]
        known = np.isfinite(by_network) & (by_network > depth_grid.MIN_DEPTH)
        if known.sum() < LEAST_TIES:
            return depth, None
        u, v, z, by_network = u[known], v[known], z[known], by_network[known]
        log_scale, nodes, information = depth_grid.fit(np.log(z / by_network), np.stack([u / width, v / height], -1))
        bent = depth * np.float32(np.exp(log_scale)) * depth_grid.factors(nodes, height, width)
        return bent.astype(np.float32), information

    def _failed(self, request: KeyframeRequest, window: WindowResult | None, why: str, started_ns: int) -> MapUpdate:
        elapsed_ns = time.perf_counter_ns() - started_ns
        return MapUpdate(request.frame_id, None, None, {}, window, self.focal or 0.0, why, map_ns=elapsed_ns)


def _ratio(after: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    return float(np.median(after / np.maximum(before, 1e-9)))


def ordered(keyframes: Sequence[Keyframe]) -> list[Keyframe]:
    return sorted(keyframes, key=lambda keyframe: keyframe.frame_id)
