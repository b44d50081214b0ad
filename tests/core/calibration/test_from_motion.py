"""A camera by its own motion: what is found through a lens, whether deviations are true, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.bundle.problem import Observations
from spark3r_core.calibration.from_motion import MotionCalibration, calibrate_from_motion
from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics

CAMERA = Intrinsics(520.0, 520.0, 331.0, 236.0, 640, 480, (-0.25, 0.06, 0.0, 0.0))


def walk(rng: np.random.Generator, pictures: int, step: float, turns: float) -> np.ndarray:
    """(K, 4, 4) world_from_camera: sideways, up and ahead by `step` per picture, and turning to and fro."""
    poses = []
    for k in range(pictures):
        at = step * np.array([k - pictures / 2, np.sin(1.3 * k), 0.6 * k]) + 0.1 * step * rng.normal(size=3)
        turn = turns * np.array([0.1 * np.sin(k), 0.25 * np.sin(0.7 * k), 0.2 * np.cos(0.9 * k)])
        poses.append(se3.exp(np.concatenate([at, turn])))
    return np.stack(poses)


def learned(
    seed: int, *, turns: float = 1.0, pictures: int = 10, points: int = 260, wrong: float = 0.03, noise: float = 0.4
) -> MotionCalibration:
    """From points in a room, a share `wrong` of the sightings; begun from poses and a focal length that are off."""
    rng, step = np.random.default_rng(seed), 0.15
    world = rng.uniform([-3, -2, 2], [3, 2, 7], (points, 3))
    poses = walk(rng, pictures, step, turns)
    number, slot, places, depth = [], [], [], []
    for k, pose in enumerate(poses):
        at = se3.transform_points(se3.invert(pose), world)
        seen = CAMERA.project(at)
        inside = (at[:, 2] > 0.5) & (np.abs(at[:, :2] / at[:, 2:]).max(1) < 0.8)
        inside &= ((seen > 0) & (seen < [640, 480])).all(1)
        number.append(np.flatnonzero(inside))
        slot.append(np.full(inside.sum(), k))
        places.append(seen[inside] + noise * rng.normal(size=(inside.sum(), 2)))
        depth.append(at[inside, 2] * np.exp(0.1 * rng.normal(size=inside.sum())))
    place = np.concatenate(places)
    is_wrong = rng.random(len(place)) < wrong
    place[is_wrong] += rng.uniform(-30, 30, (is_wrong.sum(), 2))
    _, point = np.unique(np.concatenate(number), return_inverse=True)
    seen = Observations(point.astype(np.int64), np.concatenate(slot), place, np.concatenate(depth))
    off = np.concatenate([0.1 * step * rng.normal(size=(pictures, 3)), 0.01 * rng.normal(size=(pictures, 3))], 1)
    begun = se3.compose(se3.exp(off), se3.invert(poses))
    return calibrate_from_motion(seen, begun, (640, 480), 520.0 * 1.1)


def off_by(found: MotionCalibration) -> np.ndarray:
    """(5,) errors of focal length, centre, k1 and k2, in their deviations."""
    camera, true = found.camera, CAMERA
    errors = [camera.fx - true.fx, camera.cx - true.cx, camera.cy - true.cy]
    errors += [camera.distortion[i] - true.distortion[i] for i in range(2)]
    return np.array(errors) / [found.deviations[name] for name in ("fx", "cx", "cy", "k1", "k2")]


def test_a_lens_and_its_centre_are_found_and_deviations_hold() -> None:
    found = [learned(seed) for seed in range(5)]
    for one in found:
        assert abs(one.camera.fx / CAMERA.fx - 1) < 0.01
        assert abs(one.camera.cx - CAMERA.cx) < 5
        assert abs(one.camera.distortion[0] - CAMERA.distortion[0]) < 0.02
        assert one.deviations["fx"] < 0.01 * CAMERA.fx
        assert (one.pictures, one.camera.fx) == (10, one.camera.fy)
        assert 0.4 < one.rms < 0.7
    errors = np.stack([off_by(one) for one in found])
    assert (np.abs(errors) < 2).mean() > 0.9
    assert np.sqrt(np.square(errors).mean()) > 0.1, "deviations that are far too wide say nothing"


def test_a_camera_that_never_turns_knows_less_and_says_so() -> None:
    """Moving alone, a longer lens and a deeper room look the same."""
    turned, straight = (learned(1, turns=turns) for turns in (1.0, 0.0))
    assert straight.deviations["fx"] > 3 * turned.deviations["fx"]


def test_places_that_no_camera_explains_are_refused() -> None:
    with pytest.raises(GeometryError, match="pixels are left over"):
        learned(0, noise=6.0)


def test_too_few_sightings_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(GeometryError, match="at least 500 in 6 are needed"):
        learned(0, points=30)
    with pytest.raises(GeometryError, match="in 4 pictures"):
        learned(0, pictures=4)
