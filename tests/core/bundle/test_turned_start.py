"""A start by bearings: adjustment finds the true turns and focal length, where the tracked ones lead elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.bundle.problem import Array, Cameras, Observations, PoseFactors
from spark3r_core.bundle.solve import solve
from spark3r_core.bundle.turned_start import turned_start
from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3, rotation_angle

WIDTH, FOCAL, GUESS = 320, 266.0, 330.0


def turned(count: int, radians: float) -> Array:
    """(N, 3, 3) a little down, and so much to the right, from keyframe to keyframe."""
    t = np.arange(count)
    return np.asarray(exp_so3(np.stack([0.02 * t, radians * t, 0 * t], 1)))


def poses(count: int = 4) -> Array:
    """(N, 4, 4) world_from_camera: before a wall, turning by 9 degrees to the right, and a step to the left with it."""
    t = np.arange(count)
    return np.asarray(se3.make_pose(turned(count, 0.15), np.stack([-0.1 * t, 0.01 * t**2, 0.02 * t], 1)))


def sightings(world_from_camera: Array) -> Observations:
    """Of a wall two units away with some things before it, half a pixel of noise; depth is a guess: all alike."""
    rng = np.random.default_rng(0)
    spread = rng.uniform(-1, 1, (500, 2)) * [4.0, 1.5] + [1.5, 0]
    world = np.concatenate([spread, (2 - 0.5 * (rng.random(500) < 0.2) * rng.random(500))[:, None]], 1)
    point, slot, places = [], [], []
    for number, pose in enumerate(world_from_camera):
        seen = (world - pose[:3, 3]) @ pose[:3, :3]
        uv = seen[:, :2] / seen[:, 2:] * FOCAL + rng.normal(0, 0.25, (len(world), 2))
        inside = (seen[:, 2] > 0) & (np.abs(uv) < [160, 120]).all(1)
        point.append(np.flatnonzero(inside))
        slot.append(np.full(inside.sum(), number))
        places.append(uv[inside])
    _, numbers = np.unique(np.concatenate(point), return_inverse=True)
    places_xy = np.concatenate(places)
    return Observations(numbers.astype(np.int64), np.concatenate(slot), places_xy, np.full(len(places_xy), 1.3))


def cameras(world_from_camera: Array) -> Cameras:
    count = len(world_from_camera)
    fixed = np.arange(count) == 0
    inverse = np.asarray(se3.invert(world_from_camera))
    return Cameras(inverse, np.zeros(count), fixed, GUESS, GUESS, 0.1, np.zeros(2))


def turns_off(found: Cameras, true: Array) -> float:
    """Degrees, the largest, against the first."""
    lies = np.asarray(se3.invert(found.camera_from_world))[:, :3, :3]
    return float(np.degrees(np.max(rotation_angle(np.swapaxes(true[:, :3, :3], 1, 2) @ lies))))


def test_from_turns_by_bearings_the_true_valley_is_found() -> None:
    true = poses()
    seen = sightings(true)
    tracked = true.copy()  # most of each turn was taken for a step to the right
    tracked[:, :3, :3] = turned(4, 0.02)
    tracked[:, 0, 3] += 1.3 * (0.15 - 0.02) * np.arange(4)
    begun = cameras(tracked)
    start = turned_start(begun, seen)
    assert np.array_equal(start.camera_from_world[0], begun.camera_from_world[0])
    assert turns_off(start, true) < 0.6 * turns_off(begun, true)
    plain, other = (solve(one, seen, PoseFactors.none(), WIDTH, 30) for one in (begun, start))
    assert other.cost < 0.75 * plain.cost
    assert turns_off(other.cameras, true) < 0.5
    assert abs(np.log(other.cameras.focal / FOCAL)) < 0.03
    assert abs(np.log(plain.cameras.focal / FOCAL)) > 0.2, "else this test says nothing"


def test_keyframes_that_share_nothing_stay_beside_each_other_as_they_were() -> None:
    true = poses(3)
    seen = sightings(true)
    alone = seen.where(seen.slot != 1)
    begun = cameras(true)
    start = turned_start(begun, alone)
    found = np.asarray(se3.invert(start.camera_from_world))
    step = np.asarray(se3.invert(true[0])) @ true[1]
    assert np.allclose((np.asarray(se3.invert(found[0])) @ found[1])[:3, :3], step[:3, :3])
    absurd = replace(begun, focal=4e7)  # of random weights, say
    assert np.isfinite(turned_start(absurd, seen).camera_from_world).all()
    unknown = replace(seen, depth=np.full(len(seen), np.nan))
    assert np.isfinite(turned_start(begun, unknown).camera_from_world).all()
