"""Rendered streams that ask a map to hold: loops, ways there and back, a look away, equal rooms, darkness, a kidnap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.synthetic.paths import make_path, poses_from_angles
from spark3r_core.synthetic.sequence import SyntheticSequence

Array = NDArray[np.float64]
OVERLAP_STEP, OCCLUDED = 6, 0.05  # pixels between those looked at; of depth, by which one is hidden
DARK_FRAMES = 50


@dataclass(frozen=True)
class MapWorld:
    """One stream. frames: indices into the sequence, in the order shown; dark: (n,) which of them are covered. began:
    the frame from which on the camera is to be found again (or to begin a map of its own); None where it is never lost.
    """

    name: str
    sequence: SyntheticSequence
    frames: NDArray[np.int64]
    dark: NDArray[np.bool_]
    began: int | None = None

    @property
    def truth(self) -> Array:
        """(n, 4, 4) world_from_camera of the stream's frames."""
        return np.asarray(self.sequence.world_from_camera[self.frames])

    def images(self) -> list[NDArray[np.uint8]]:
        shown: dict[int, NDArray[np.uint8]] = {}
        black = np.zeros((*self.sequence.image_hw, 3), np.uint8)
        for index, dark in zip(self.frames.tolist(), self.dark.tolist(), strict=True):
            if not dark and index not in shown:
                shown[index] = np.ascontiguousarray(self.sequence.frame(index)[0])
        return [black if dark else shown[int(i)] for i, dark in zip(self.frames, self.dark, strict=True)]

    def overlap(self, first: int, second: int) -> float:
        """Share of what stream frame `first` shows that `second` shows too, hidden surfaces taken out."""
        camera = self.sequence.intrinsics
        depths = [self.sequence.frame(int(self.frames[one]))[1] for one in (first, second)]
        height, width = self.sequence.image_hw
        v, u = np.mgrid[OVERLAP_STEP // 2 : height : OVERLAP_STEP, OVERLAP_STEP // 2 : width : OVERLAP_STEP]
        z = depths[0][v, u].ravel().astype(np.float64)
        rays = np.stack(
            [(u.ravel() + 0.5 - camera[0, 2]) / camera[0, 0], (v.ravel() + 0.5 - camera[1, 2]) / camera[1, 1]]
        )
        known = np.isfinite(z)
        points = np.concatenate([rays, np.ones((1, len(z)))]).T[known] * z[known, None]
        step = se3.compose(se3.invert(self.truth[second]), self.truth[first])
        at = se3.transform_points(step, points)
        ahead = at[:, 2] > 1e-3
        uv = at[:, :2] / np.where(ahead, at[:, 2], 1.0)[:, None] * camera[[0, 1], [0, 1]] + camera[:2, 2]
        inside = ahead & ((uv >= 0) & (uv < np.array([width, height]))).all(1)
        there = depths[1][uv[inside, 1].astype(int), uv[inside, 0].astype(int)]
        seen = np.abs(there - at[inside, 2]) < OCCLUDED * at[inside, 2]
        return float(seen.sum()) / max(1, int(known.sum()))


def make_world(name: str, seed: int, frames: int, size_wh: tuple[int, int]) -> MapWorld:
    """Stream `name` of MAP_WORLDS; about `frames` frames."""
    hw = (size_wh[1], size_wh[0])

    def room(kind: str, world: str = "room", count: int = frames) -> SyntheticSequence:
        return SyntheticSequence(seed, count, kind, hw, world_kind=world)

    if name == "loop":
        return _shown(name, room("loop"))
    if name == "twin_rooms":
        return _shown(name, room("twin_rooms", "twin_rooms", frames * 3 // 2))
    if name == "corridor":  # forwards, and back on the same way, looking the same way
        sequence = room("forward", "corridor")
        there = np.linspace(0, frames / 2, frames // 2)
        times = np.concatenate([there, there[::-1]])
        sequence.world_from_camera = make_path("forward", 0, seed, sequence.worlds, 0, times=times)
        return _shown(name, sequence)
    if name == "look_away":
        return _shown(name, _looking_away(room("still"), frames))
    if name == "kidnap_unseen":
        return _turning_and_kidnapped(room("still"), frames)
    sequence = room("handheld")
    order = np.arange(len(sequence))
    if name == "blackout":
        dark = (order >= frames // 2) & (order < frames // 2 + DARK_FRAMES)
        still = np.where(order >= frames // 2, np.maximum(frames // 2, order - DARK_FRAMES), order)
        return MapWorld(name, sequence, still, dark, frames // 2 + DARK_FRAMES)
    back = order[frames // 6 : frames // 2]  # carried back, and let go
    shown = np.concatenate([order[: 2 * frames // 3], back])
    return MapWorld(name, sequence, shown, np.zeros(len(shown), bool), 2 * frames // 3)


MAP_WORLDS = ("loop", "corridor", "look_away", "twin_rooms", "blackout", "kidnap", "kidnap_unseen")


def _shown(name: str, sequence: SyntheticSequence) -> MapWorld:
    count = len(sequence)
    return MapWorld(name, sequence, np.arange(count), np.zeros(count, bool))


def _turning_and_kidnapped(sequence: SyntheticSequence, frames: int) -> MapWorld:
    """A camera that turns on a small circle by a third of a turn, is carried to what is behind it within one frame, and
    turns on until it sees all of that first third again."""
    start = sequence.world_from_camera[0]
    cut = frames // 4
    yaw = np.deg2rad(np.concatenate([np.linspace(0, 100, cut), np.linspace(190, 460, frames - cut)]))
    own = np.arctan2(start[0, 2], start[2, 2])
    circle = 0.3 * np.stack([np.sin(own + yaw), 0.1 * np.sin(2 * yaw), np.cos(own + yaw)], 1)
    position = start[:3, 3] + circle - circle[0]
    sequence.world_from_camera = poses_from_angles(position, own + yaw, np.full(frames, 0.08), np.zeros(frames))
    return MapWorld("kidnap_unseen", sequence, np.arange(frames), np.zeros(frames, bool), cut)


def _looking_away(sequence: SyntheticSequence, frames: int) -> SyntheticSequence:
    """A camera that sways a little, turns away by 150 degrees, and back."""
    start = sequence.world_from_camera[0]
    share = np.linspace(0, 1, frames)
    smooth = np.clip(np.minimum((share - 0.1) / 0.35, (0.9 - share) / 0.35), 0, 1)
    yaw = np.deg2rad(150) * smooth * smooth * (3 - 2 * smooth)
    sway = 0.25 * np.sin(2 * np.pi * np.outer(share, [3, 2, 4]) + np.array([0.0, 1.0, 2.0]))
    sway[:, 1] *= 0.3
    own = np.arctan2(start[0, 2], start[2, 2])
    position = start[:3, 3] + sway - sway[0]
    sequence.world_from_camera = poses_from_angles(position, own + yaw, np.full(frames, 0.08), np.zeros(frames))
    return sequence
