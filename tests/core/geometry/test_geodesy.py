"""Degrees on WGS-84 as metres: places that are known in closed form, and lengths of small steps."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry.geodesy import EQUATOR_M, FLATTENING, LocalFrame, earth_centred

POLE_M = EQUATOR_M * (1 - FLATTENING)


@pytest.mark.parametrize(
    ("place", "metres"),
    [
        ((0, 0, 0), (EQUATOR_M, 0, 0)),
        ((0, 90, 10), (0, EQUATOR_M + 10, 0)),
        ((90, 30, 0), (0, 0, POLE_M)),
        ((-90, 0, 100), (0, 0, -POLE_M - 100)),
    ],
)
def test_places_on_the_axes(place: tuple[float, float, float], metres: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(earth_centred(place), metres, atol=1e-6)


@pytest.mark.parametrize("latitude", [-60.0, 0.0, 48.1])
def test_small_steps_are_as_long_as_the_radii_of_curvature_say(latitude: float) -> None:
    frame = LocalFrame(latitude, 11.5, 520.0)
    assert not frame.enu((latitude, 11.5, 520.0)).any()
    step = 1e-5
    squared = FLATTENING * (2 - FLATTENING)
    bent = 1 - squared * np.sin(np.radians(latitude)) ** 2
    north_m = np.radians(step) * (EQUATOR_M * (1 - squared) / bent**1.5 + 520)
    east_m = np.radians(step) * (EQUATOR_M / np.sqrt(bent) + 520) * np.cos(np.radians(latitude))
    found = frame.enu([(latitude + step, 11.5, 520), (latitude, 11.5 + step, 520), (latitude, 11.5, 523)])
    np.testing.assert_allclose(found, [(0, north_m, 0), (east_m, 0, 0), (0, 0, 3)], atol=2e-6)


def test_a_kilometre_away_the_earth_has_bent_away() -> None:
    _, north, up = LocalFrame(48.0, 11.0, 0.0).enu((48.009, 11.0, 0.0))
    assert up == pytest.approx(-(north**2) / (2 * 6.37e6), rel=0.01)
