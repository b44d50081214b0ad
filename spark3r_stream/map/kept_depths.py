"""Depth maps of keyframes in a byte budget, kept until they are fused into one surface."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.surface import PosedDepth, usable_depth
from spark3r_stream.thinned import most_crowded
from spark3r_stream.wire.messages import KeyframeOutput

LEAST_KEPT = 3


class _Kept(NamedTuple):
    depth: NDArray[np.float32]
    image: NDArray[np.uint8]
    intrinsics: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        return self.depth.nbytes + self.image.nbytes


class KeptDepths:
    """The newest depth map and picture of each submap, at most `max_bytes` of them (three are always kept); beyond it
    those go whose neighbours in time are closest to each other, so that what is left is spread over the whole run."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[int, _Kept] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, keyframe: KeyframeOutput) -> None:
        """Keep a keyframe; an older depth of the same one goes."""
        depth = usable_depth(keyframe.depth, keyframe.confidence)
        self._drop(keyframe.submap)
        self._kept[keyframe.submap] = kept = _Kept(depth, keyframe.image.copy(), keyframe.camera.matrix)
        self._bytes += kept.nbytes
        while self._bytes > self._max_bytes and len(self._kept) > LEAST_KEPT:
            self._drop(most_crowded(sorted(self._kept)))

    def posed(self, map_from_submap: Callable[[int], Sim3]) -> list[PosedDepth]:
        """All that are kept, where they lie now."""
        return [
            PosedDepth(kept.depth, kept.image, kept.intrinsics, map_from_submap(submap))
            for submap, kept in sorted(self._kept.items())
        ]

    def _drop(self, submap: int) -> None:
        kept = self._kept.pop(submap, None)
        self._bytes -= 0 if kept is None else kept.nbytes
