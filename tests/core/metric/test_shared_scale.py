"""Metres of maps that were joined: whoever knows tells the others, as sure as the relation lets it be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.scale import Scale
from spark3r_core.metric.shared_scale import Lying, OwnMetres, shared_metres

NAMES = {0: "gate", 1: "yard", 2: "roof"}
TURN = exp_so3(np.array([0.3, -0.2, 0.5]))
LIES = {
    0: Lying(Sim3()),
    1: Lying(Sim3(0.5, TURN, np.array([1.0, 2.0, 3.0])), 0.03),  # a unit of yard is half a unit of gate
    2: Lying(Sim3(2.0, TURN.T, np.array([0.0, -1.0, 0.0])), 0.04),
}


def knows(metres: float, std: float = 0.01, source: str = "tag", rotation: np.ndarray | None = None) -> OwnMetres:
    is_level = rotation is not None
    return OwnMetres(Sim3(metres, rotation if is_level else np.eye(3)), Scale(metres, std, source), is_level)


def test_nobody_knows() -> None:
    assert shared_metres(0, LIES, {0: OwnMetres(), 1: OwnMetres()}, NAMES, has_origin=False) is None
    assert shared_metres(0, LIES, {}, NAMES, has_origin=False) is None


def test_a_root_that_knows_stays_as_it_is_and_others_are_less_sure_by_their_relation() -> None:
    found = shared_metres(0, LIES, {0: knows(1.5), 1: OwnMetres()}, NAMES, has_origin=False)
    assert found is not None
    np.testing.assert_allclose(found.published_from_root.matrix, Sim3(1.5).matrix, atol=1e-12)
    assert {one.source for one in found.scales.values()} == {"tag of gate"}
    stds = {one: scale.log_std for one, scale in found.scales.items()}
    assert stds == pytest.approx({0: 0.01, 1: math.hypot(0.01, 0.03), 2: math.hypot(0.01, 0.04)})
    assert not found.z_up


def test_a_root_that_does_not_know_learns_it_by_the_relation() -> None:
    found = shared_metres(0, LIES, {1: knows(1.5)}, NAMES, has_origin=False)
    assert found is not None
    assert found.published_from_root.scale == pytest.approx(3.0), "a unit of gate is two of yard, of 1.5 m each"
    stds = {one: scale.log_std for one, scale in found.scales.items()}
    assert stds == pytest.approx({0: math.hypot(0.01, 0.03), 1: 0.01, 2: math.hypot(0.01, 0.05)})


def test_two_that_agree_are_surer_than_each_and_two_that_contradict_are_not_sure() -> None:
    near = shared_metres(0, LIES, {0: knows(3.0, 0.03), 2: knows(6.06, 0.01)}, NAMES, has_origin=False)
    assert near is not None
    assert near.published_from_root.scale == pytest.approx(3.015, rel=0.003)
    assert near.scales[0].log_std < 0.03
    assert near.scales[0].source == "tag of gate, tag of roof"
    far = shared_metres(0, LIES, {0: knows(3.0, 0.02), 1: knows(2.0, 0.02)}, NAMES, has_origin=False)
    assert far is not None
    assert 3.0 <= far.published_from_root.scale <= 4.0
    assert far.scales[0].log_std > 0.03, "a third is too much between two that say 2 percent"
    both = {0: knows(3.0, 0.02), 1: knows(2.0, 0.02), 2: knows(6.0, 0.02)}
    outvoted = shared_metres(0, LIES, both, NAMES, has_origin=False)
    assert outvoted is not None
    assert outvoted.published_from_root.scale == pytest.approx(3.0, rel=0.03)
    assert "yard" not in outvoted.scales[0].source


def test_up_comes_from_whoever_knows_it() -> None:
    level = exp_so3(np.array([0.0, 0.7, 0.1]))
    by_root = shared_metres(0, LIES, {0: knows(2.0, rotation=level), 1: knows(1.0)}, NAMES, has_origin=False)
    assert by_root is not None
    np.testing.assert_allclose(by_root.published_from_root.rotation, level, atol=1e-12)
    for known in ({1: knows(1.0, rotation=level)}, {0: knows(2.0), 1: knows(1.0, rotation=level)}):
        by_other = shared_metres(0, LIES, known, NAMES, has_origin=False)
        assert by_other is not None
        assert by_other.z_up
        up_of_root = LIES[1].root_from_map.rotation @ level[2]  # z of the level map, in yard's axes, then gate's
        np.testing.assert_allclose(by_other.published_from_root.rotation @ up_of_root, [0, 0, 1], atol=1e-9)
        np.testing.assert_array_equal(by_other.published_from_root.translation, np.zeros(3))


def test_the_origin_of_who_sees_the_tag_is_that_of_all() -> None:
    level = exp_so3(np.array([0.0, 0.7, 0.1]))
    at = Sim3(1.5, level, np.array([0.1, 0.2, 0.3]))
    sees = OwnMetres(at, Scale(1.5, 0.01, "tag"), True)
    found = shared_metres(0, LIES, {1: sees}, NAMES, has_origin=True)
    assert found is not None
    np.testing.assert_allclose(
        (found.published_from_root @ LIES[1].root_from_map).matrix, at.matrix, atol=1e-9
    )  # yard lies as it would by itself
    both = shared_metres(
        0, LIES, {0: OwnMetres(at, Scale(1.5, 0.01, "tag"), True), 1: knows(0.9)}, NAMES, has_origin=True
    )
    assert both is not None
    root_of_map = both.published_from_root.inverse().translation
    np.testing.assert_allclose(root_of_map, at.inverse().translation, atol=1e-9)


def test_what_is_too_unsure_once_it_has_come_over_is_not_known() -> None:
    lies = {0: LIES[0], 1: Lying(Sim3(2.0), 0.3)}
    assert shared_metres(0, lies, {1: knows(1.5)}, NAMES, has_origin=False) is None
