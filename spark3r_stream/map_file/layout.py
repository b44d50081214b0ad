"""What a map file holds: its tensors with types and shapes, its counts, and how large each may be.

Writer and reader both go by these tables. docs/map_file.md says what each tensor means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC = "spark3r_map"  # the one key of the file's metadata; its value is the header
MAJOR, MINOR = 2, 0
MAX_BYTES = 512 << 20  # of a file
MAX_HEADER_BYTES = 64 << 10
MAX_FEATURES = 2_000_000  # in all
MAX_FEATURES_EACH = 16384
MAX_SIDE, MAX_PIXELS = 16384, 50_000_000  # of a picture
MAX_DEPTH_SIDE = 4096
HISTOGRAM = 128

COUNTS: dict[str, int] = {
    "keyframes": 16384,
    "depth_values": MAX_BYTES // 4,
    "features": MAX_FEATURES,
    "picture_bytes": MAX_BYTES,
    "sightings": MAX_FEATURES,
    "pairs": 1_000_000,
    "edges": 100_000,
    "network_focals": 1_000_000,
}
"""The most of each that a file may have."""


@dataclass(frozen=True)
class Tensor:
    """kind: as safetensors writes it. shape: numbers, or names of counts."""

    kind: str
    shape: tuple[int | str, ...]

    def sizes(self, counts: Mapping[str, int]) -> list[int]:
        return [counts[size] if isinstance(size, str) else size for size in self.shape]

    def nbytes(self, counts: Mapping[str, int]) -> int:
        return math.prod(self.sizes(counts)) * DTYPES[self.kind].itemsize


DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}
TENSORS: dict[str, Tensor] = {
    "keyframe.frame_id": Tensor("I64", ("keyframes",)),
    "keyframe.time_s": Tensor("F64", ("keyframes",)),
    "keyframe.world_from_camera": Tensor("F64", ("keyframes", 4, 4)),
    "keyframe.scale": Tensor("F64", ("keyframes",)),
    "keyframe.depth_intrinsics": Tensor("F64", ("keyframes", 3, 3)),
    "keyframe.picture_from_depth": Tensor("F64", ("keyframes", 3, 3)),
    "keyframe.depth_hw": Tensor("I32", ("keyframes", 2)),
    "keyframe.depth_unit": Tensor("F64", ("keyframes",)),
    "keyframe.features": Tensor("I32", ("keyframes",)),
    "keyframe.picture_bytes": Tensor("I32", ("keyframes",)),
    "depth": Tensor("F16", ("depth_values",)),
    "confidence": Tensor("F16", ("depth_values",)),
    "feature.place": Tensor("F32", ("features", 2)),
    "feature.size": Tensor("F32", ("features",)),
    "feature.histogram": Tensor("U8", ("features", HISTOGRAM)),
    "feature.depth": Tensor("F32", ("features",)),
    "picture": Tensor("U8", ("picture_bytes",)),
    "sighting": Tensor("I32", ("sightings", 3)),
    "pair": Tensor("I32", ("pairs", 2)),
    "edge.ends": Tensor("I32", ("edges", 2)),
    "edge.second_from_first": Tensor("F64", ("edges", 4, 4)),
    "edge.information": Tensor("F64", ("edges", 6, 6)),
    "network_focal": Tensor("F64", ("network_focals",)),
}
