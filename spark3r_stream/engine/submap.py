"""A keyframe as it is published: the number of its submap, where that lies, and its depth and points as a message."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.frame_cloud import CloudConfig, cloud_of
from spark3r_stream.wire.messages import CameraView, KeyframeOutput


@dataclass
class Submap:
    """number: k of `submap_<k>`. time_ns: when its frame was taken, by the source's own stamp where it has one.
    tracked_submap: what its frame was tracked on; None where it begins a map. revision: of map_from_submap; -1: none.

    part_from_submap: where the mapper has it in the present map, with lengths as the tracker has them. unit: published
    lengths in the submap are that many times those, for good; map_from_submap: takes published ones to the map.
    """

    number: int
    frame_id: int
    captured_ns: int
    epoch: int
    time_ns: int
    tracked_submap: int | None
    revision: int = -1
    map_from_submap: Sim3 = field(default_factory=Sim3)
    part_from_submap: Sim3 = field(default_factory=Sim3)
    unit: float = 1.0

    def pose(self, key_from_camera: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4, 4) as published, of a camera that was tracked on it."""
        published = key_from_camera.copy()
        published[:3, 3] *= self.unit
        return published

    def covariance(self, covariance: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """(6, 6) of such a pose's twist [translation, rotation], as published."""
        factors = np.array([self.unit] * 3 + [1.0] * 3)
        return None if covariance is None else covariance * np.outer(factors, factors)

    def output(
        self,
        cloud: CloudConfig,
        image: NDArray[np.uint8],
        depth: NDArray[np.float32],
        confidence: NDArray[np.float32],
        intrinsics: NDArray[np.float64],
    ) -> KeyframeOutput:
        """The keyframe with this depth, which is in the tracker's unit.

        image: (h, w, 3) uint8 RGB; depth, confidence: (h, w); intrinsics: (3, 3).
        """
        depth = depth * np.float32(self.unit)
        points, colours, trust = cloud_of(cloud, image, depth, confidence, intrinsics, np.eye(4))
        height, width = depth.shape
        return KeyframeOutput(
            frame_id=self.frame_id,
            submap=self.number,
            captured_ns=self.captured_ns,
            epoch=self.epoch,
            revision=self.revision,
            camera=CameraView(intrinsics, width, height),
            depth=depth,
            confidence=confidence,
            image=image,
            points=points,
            colours=colours,
            point_confidence=trust,
            map_from_submap=self.map_from_submap,
            time_ns=self.time_ns,
            tracked_submap=self.tracked_submap,
        )
