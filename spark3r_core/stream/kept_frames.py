"""Frames that may be run again: their encoded tokens, and where the published map has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.models.interface import Encoded
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.tie import thin_depth


@dataclass(frozen=True)
class SupportFrame:
    """What running a frame again takes, and its geometry as published.

    encoded: tokens of this one frame, so that no image is encoded twice. world_from_camera: (4, 4) in the map.
    median_depth: the unit in which a shift of the camera is told. depth: thinned, in the map's unit: what a window is
    tied to the map by.
    """

    encoded: Encoded
    world_from_camera: np.ndarray
    median_depth: float
    depth: np.ndarray

    @staticmethod
    def of(estimate: FrameEstimate, encoded: Encoded) -> SupportFrame:
        return SupportFrame(
            encoded, estimate.world_from_camera, float(np.median(estimate.depth)), thin_depth(estimate.depth)
        )


class KeptFrames:
    """Support frames by frame id, ascending. A copy shares the frames, so taking one back costs nothing."""

    def __init__(self, frames: Mapping[int, SupportFrame] | None = None) -> None:
        self._frames = dict(frames or {})

    def __contains__(self, frame: int) -> bool:
        return frame in self._frames

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._frames))

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frame: int) -> SupportFrame:
        return self._frames[frame]

    def copy(self) -> KeptFrames:
        return KeptFrames(self._frames)

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens on their device."""
        return sum(kept.encoded.nbytes for kept in self._frames.values())

    def encoded(self, frames: Sequence[int]) -> list[Encoded]:
        return [self._frames[frame].encoded for frame in frames]

    def update(
        self, keep: Collection[int], estimates: Sequence[FrameEstimate] = (), encoded: Encoded | None = None
    ) -> None:
        """Drop what is not in `keep`; take those of the window's frames that are.

        estimates, encoded: of the window's new frames, in the same order; poses and depths as they are published.
        """
        self._frames = {frame: kept for frame, kept in self._frames.items() if frame in keep}
        for offset, estimate in enumerate(estimates):
            if estimate.valid and estimate.frame_id in keep and encoded is not None:
                # a list of indices copies: a slice would keep the whole window's tokens alive
                self._frames[estimate.frame_id] = SupportFrame.of(estimate, encoded.frames([offset]))

    def settle(self, frame: int, world_from_camera: np.ndarray, depth_scale: float) -> None:
        """The published map moved a frame: its pose (4, 4) now, and what its depth is multiplied by."""
        kept = self._frames[frame]
        self._frames[frame] = replace(
            kept,
            world_from_camera=world_from_camera,
            median_depth=kept.median_depth * depth_scale,
            depth=kept.depth * np.float32(depth_scale),
        )

    def shift(self, frames: Sequence[int], world_from_camera: np.ndarray) -> tuple[float, float] | None:
        """Largest change (degrees, median depths) of `frames` against the published map; None if none is known.

        world_from_camera: (n, 4, 4) as estimated now, in the map.
        """
        if not frames or not np.isfinite(world_from_camera).all():
            return None
        rotations, translations = [], []
        for frame, now in zip(frames, world_from_camera, strict=True):
            published = self._frames[frame]
            turn = rotation_angle(published.world_from_camera[:3, :3].T @ now[:3, :3])
            rotations.append(float(np.degrees(turn)))
            distance = np.linalg.norm(now[:3, 3] - published.world_from_camera[:3, 3])
            translations.append(float(distance / max(published.median_depth, 1e-9)))
        return max(rotations), max(translations)
