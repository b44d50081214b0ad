"""Rendered worlds that ask a map to hold: loops, ways there and back, a look away, a rest, places that look alike,
things that move, darkness, kidnaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.synthetic.doors import doors_walk
from spark3r_core.synthetic.paths import make_path, poses_from_angles
from spark3r_core.synthetic.sequence import SyntheticSequence

Array = NDArray[np.float64]
DARK_FRAMES, MOVED_IN_THE_DARK = 50, 15
PAUSE = 0.3  # of the frames
TURN_FRAMES = 400  # of a video, in which there is time to turn all the way round
FULL_TURN_DEG = 320.0  # of the viewing direction along a path, and more
ANOTHER_ROOM = 1000  # to the seed, where a room's path does not turn so far
MOVERS = 3
BESIDE = (0.06, 0.03, 0.03, 0.0, 0.06, 0.02)  # of a camera that goes the same way again: units, radians

MAP_WORLDS = (
    "loop", "corridor", "look_away", "stand_still", "twin_rooms", "doors", "moving",
    "blackout", "kidnap", "kidnap_unseen", "turn_unseen",
)  # fmt: skip
LOST_WORLDS = ("blackout", "kidnap", "kidnap_unseen", "turn_unseen")


@dataclass(frozen=True)
class MapWorld:
    """One stream. dark: (n,) which frames are covered. began: the frame from which on the camera is to be found again
    (or to begin a map of its own); None where it is never lost."""

    name: str
    seed: int
    sequence: SyntheticSequence
    dark: NDArray[np.bool_]
    began: int | None = None


def make_world(name: str, seed: int, frames: int, size_wh: tuple[int, int]) -> MapWorld:
    """Stream `name` of MAP_WORLDS; about `frames` frames.

    loop: a closed way, with a full turn. corridor: forwards, and back on the same way, looking the same way. look_away:
    150 degrees, and back. stand_still: a third of the time. twin_rooms: two that are equal. doors: a corridor of
    equal ones, there and back. moving: a loop among things that walk. blackout: dark for 50 frames, while the camera
    goes on by 15. kidnap: carried back by half a loop. kidnap_unseen: carried on by half a loop, from where it goes
    round to where it was first. turn_unseen: the same for a camera that hardly does more than turn.
    """
    hw = (size_wh[1], size_wh[0])

    def room(kind: str, world: str = "room", count: int = frames, pause: int = 0) -> SyntheticSequence:
        return SyntheticSequence(seed, count, kind, hw, world_kind=world, pause=pause)

    def shown(sequence: SyntheticSequence) -> MapWorld:
        return MapWorld(name, seed, sequence, np.zeros(len(sequence), bool))

    def carried(sequence: SyntheticSequence, order: NDArray[np.int64], cut: int) -> MapWorld:
        """On the way of `sequence` in this order; from `cut` on beside it, as nobody goes the same way twice."""
        poses = sequence.world_from_camera[order]
        poses[cut:] = se3.compose(poses[cut:], se3.exp(np.array(BESIDE)))
        sequence.world_from_camera = poses
        return MapWorld(name, seed, sequence, np.zeros(len(order), bool), cut)

    order = np.arange(frames)
    if name == "loop":
        return shown(_full_turn(seed, frames, hw))
    if name == "moving":
        return shown(_full_turn(seed, frames, hw, MOVERS))
    if name == "corridor":
        sequence = room("forward", "corridor")
        there = np.linspace(0, frames / 2, frames // 2)
        times = np.concatenate([there, there[::-1]])
        sequence.world_from_camera = make_path("forward", 0, seed, sequence.worlds, 0, times=times)
        return shown(sequence)
    if name == "doors":
        sequence = room("still", "doors")
        share = 1 - np.abs(np.linspace(-1, 1, frames))
        position, yaw = doors_walk(*sequence.worlds.bounds[0].double().numpy(), share)
        sequence.world_from_camera = poses_from_angles(position, yaw, np.full(frames, 0.05), np.zeros(frames))
        return shown(sequence)
    if name == "look_away":
        return shown(_looking_away(room("still"), frames))
    if name == "stand_still":
        return shown(room("handheld", pause=round(PAUSE * frames)))
    if name == "twin_rooms":
        return shown(room("twin_rooms", "twin_rooms", frames * 3 // 2))
    if name == "turn_unseen":
        return carried(_turning(room("still"), frames), order, frames // 4)
    if name == "kidnap":
        cut = 2 * frames // 3
        back = order[frames // 6 : frames // 2]
        return carried(_full_turn(seed, frames, hw), np.concatenate([order[:cut], back]), cut)
    if name == "kidnap_unseen":  # a third of the loop; its second half, and on over the first third
        cut = frames // 3
        return carried(
            _full_turn(seed, frames, hw), np.concatenate([order[:cut], order[frames // 2 :], order[:cut]]), cut
        )
    begin = frames // 2
    after = begin + MOVED_IN_THE_DARK
    sequence = room("handheld")
    in_the_dark = np.linspace(begin, after, DARK_FRAMES, endpoint=False).astype(np.int64)
    sequence.world_from_camera = sequence.world_from_camera[np.concatenate([order[:begin], in_the_dark, order[after:]])]
    dark = np.zeros(len(sequence), bool)
    dark[begin : begin + DARK_FRAMES] = True
    return MapWorld(name, seed, sequence, dark, begin + DARK_FRAMES)


def _full_turn(seed: int, frames: int, hw: tuple[int, int], movers: int = 0) -> SyntheticSequence:
    """A loop in the first room, from this seed on, in which the camera turns all the way round."""
    while True:
        step = max(1.0, TURN_FRAMES / frames)
        sequence = SyntheticSequence(seed, frames, "loop", hw, world_kind="room", step=step, movers=movers)
        ahead = sequence.world_from_camera[:, :3, 2]
        turned = np.ptp(np.unwrap(np.arctan2(ahead[:, 0], ahead[:, 2])))
        if np.degrees(turned) > FULL_TURN_DEG:
            return sequence
        seed += ANOTHER_ROOM


def _turning(sequence: SyntheticSequence, frames: int) -> SyntheticSequence:
    """A camera that turns on a small circle by a third of a turn, is carried to what is behind it within one frame, and
    turns on until it sees all of that first third again."""
    start = sequence.world_from_camera[0]
    cut = frames // 4
    yaw = np.deg2rad(np.concatenate([np.linspace(0, 100, cut), np.linspace(190, 460, frames - cut)]))
    own = np.arctan2(start[0, 2], start[2, 2])
    circle = 0.3 * np.stack([np.sin(own + yaw), 0.1 * np.sin(2 * yaw), np.cos(own + yaw)], 1)
    position = start[:3, 3] + circle - circle[0]
    sequence.world_from_camera = poses_from_angles(position, own + yaw, np.full(frames, 0.08), np.zeros(frames))
    return sequence


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
