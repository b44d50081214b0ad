"""A map that has drifted, adjusted with positions of its keyframes: they pull it in, and garbage leaves it alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from spark3r_core.geometry import umeyama
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.metric.gps import KnownPlaces
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.known_places import bent_to_known
from spark3r_core.stream.whole_map import Whole, adjust_whole
from tests.core.places.views import HW
from tests.core.stream.room_map import ROOM, drifted, make_map, true_poses

TRUTH = true_poses(24, turns=0.9)
METRES_FROM_TRUTH = exp_so3(np.array([-np.pi / 2, 0.0, 0.0]))  # z of the positions is up, y of the pictures down


@cache
def world() -> KeyframeMap:
    return replace(make_map(ROOM, TRUTH, *drifted(TRUTH, turn=0.02, growth=0.04)), picture_hw=HW)


def centres(found: KeyframeMap) -> np.ndarray:
    return np.stack([found.keyframes[one].world_from_camera[:3, 3] for one in found.order])


def off(found: KeyframeMap) -> float:
    """RMS distance of keyframes from the truth after one similarity."""
    estimate, true = centres(found), TRUTH[:, :3, 3]
    return float(np.sqrt(np.square(umeyama(estimate, true).apply_to_points(estimate) - true).sum(1).mean()))


def known(kind: str, std: float = 0.01) -> KnownPlaces:
    rng = np.random.default_rng(0)
    places = TRUTH[:, :3, 3] @ METRES_FROM_TRUTH.T + rng.normal(0, std, (len(TRUTH), 3))
    if kind == "white":
        places = rng.normal(0, 0.5, places.shape)
    elif kind == "late":
        places = np.roll(places, 6, 0)
    elif kind == "walk":
        places = np.cumsum(rng.normal(0, 0.2, places.shape), 0)
    elif kind == "swapped":
        places = places[:, [1, 0, 2]]
    return KnownPlaces(tuple(world().order), places, np.full(places.shape, std), np.zeros(3))


def adjusted(places: KnownPlaces | None) -> Whole:
    return adjust_whole(world().draft(), closes_loops=False, focal_is_known=True, known=places)


def test_positions_pull_drift_in_before_sightings_are_asked() -> None:
    bent = bent_to_known(world(), known("right"))
    assert bent is not None
    assert off(bent) < 0.5 * off(world())
    np.testing.assert_allclose(centres(bent)[0], centres(world())[0], atol=1e-9)
    assert bent_to_known(replace(world(), fixed=frozenset(world().keyframes)), known("right")) is None


def test_with_positions_the_last_adjustment_is_no_worse() -> None:
    without, with_them = adjusted(None), adjusted(known("right"))
    assert off(with_them.map) < 1.02 * off(without.map)


@pytest.mark.parametrize("kind", ["white", "late", "walk", "swapped"])
def test_garbage_makes_no_map_worse(kind: str) -> None:
    assert off(adjusted(known(kind)).map) < 1.02 * off(adjusted(None).map)


def test_a_bent_map_that_sightings_contradict_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bends it: here every keyframe is put into another one's place."""
    from spark3r_core.stream import whole_map

    def shuffled(found: KeyframeMap, places: KnownPlaces) -> KeyframeMap:
        order = found.order
        return replace(
            found,
            keyframes={
                one: found.keyframes[one].moved(found.keyframes[other].world_from_camera, found.keyframes[one].scale)
                for one, other in zip(order, np.roll(order, 7).tolist(), strict=True)
            },
        )

    monkeypatch.setattr(whole_map, "bent_to_known", shuffled)
    without = adjusted(None)
    np.testing.assert_array_equal(centres(adjusted(known("right")).map), centres(without.map))
