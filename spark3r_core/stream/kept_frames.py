"""Frames that may be run again: their encoded tokens, and what was said of them when they were new."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.models.interface import Encoded
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.gauge import thin_depth


@dataclass(frozen=True)
class KeptFrame:
    """What running a frame again takes, and its first estimate in the map's gauge.

    encoded: tokens of this one frame, so that no image is encoded twice. world_from_camera: (4, 4). median_depth: the
    unit in which a shift of the camera is told. depth: thinned, what a model without a gauge is aligned by.
    """

    encoded: Encoded
    world_from_camera: np.ndarray
    median_depth: float
    depth: np.ndarray

    @staticmethod
    def of(estimate: FrameEstimate, encoded: Encoded) -> KeptFrame:
        return KeptFrame(
            encoded, estimate.world_from_camera, float(np.median(estimate.depth)), thin_depth(estimate.depth)
        )


class KeptFrames:
    """The kept frames by their index, ascending. A copy shares the frames, so taking one back costs nothing."""

    def __init__(self, frames: dict[int, KeptFrame] | None = None) -> None:
        self._frames = dict(frames or {})

    def __contains__(self, frame: int) -> bool:
        return frame in self._frames

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._frames))

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frame: int) -> KeptFrame:
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

        estimates, encoded: of the window's new frames, in the same order.
        """
        self._frames = {frame: kept for frame, kept in self._frames.items() if frame in keep}
        for offset, estimate in enumerate(estimates):
            if estimate.valid and estimate.index in keep and encoded is not None:
                # a list of indices copies: a slice would keep the whole window's tokens alive
                self._frames[estimate.index] = KeptFrame.of(estimate, encoded.frames([offset]))

    def anchor_and_newest(self, newest: int) -> list[int]:
        """Frame 0 first (it carries the reference tokens), then the `newest` last ones."""
        frames = sorted(self._frames)
        last = frames[len(frames) - newest :] if newest else []
        return [frame for frame in frames[:1] if frame == 0] + [frame for frame in last if frame != 0]

    def shift(self, frames: Sequence[int], world_from_camera: np.ndarray) -> tuple[float, float] | None:
        """Largest change (degrees, median depths) of `frames` against their first estimate; None if none is known.

        world_from_camera: (n, 4, 4) as estimated now.
        """
        if not frames or not np.isfinite(world_from_camera).all():
            return None
        rotations, translations = [], []
        for frame, now in zip(frames, world_from_camera, strict=True):
            first = self._frames[frame]
            turn = rotation_angle(first.world_from_camera[:3, :3].T @ now[:3, :3])
            rotations.append(float(np.degrees(turn)))
            distance = np.linalg.norm(now[:3, 3] - first.world_from_camera[:3, 3])
            translations.append(float(distance / max(first.median_depth, 1e-9)))
        return max(rotations), max(translations)
