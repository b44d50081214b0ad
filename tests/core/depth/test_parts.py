"""Choice of views, planes, spreading and consistency, each on what can be said without a picture of the world."""

import numpy as np

from spark3r_core.depth.borrowing import borrowed, seen_from_here
from spark3r_core.depth.consistency import Neighbour, agreement
from spark3r_core.depth.fill import _solve, spread
from spark3r_core.depth.planes import flattened
from spark3r_core.depth.views import choose, usefulness

HW = (60, 80)
K = np.array([[70.0, 0, 40], [0, 70.0, 30], [0, 0, 1]])


def moved(x: float, z: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[[0, 2], 3] = -x, -z
    return pose


def points(depth: float = 2.0) -> np.ndarray:
    u, v = np.meshgrid(np.arange(5, 80, 10.0), np.arange(5, 60, 10.0))
    return np.stack([(u - 40) / 70 * depth, (v - 30) / 70 * depth, np.full_like(u, depth)], -1).reshape(-1, 3)


def test_a_view_says_most_at_some_parallax_and_nothing_without() -> None:
    worth = [usefulness(points(), moved(x), K, HW).mean() for x in (0.001, 0.05, 0.28, 1.5)]
    assert worth[2] == max(worth)
    assert worth[0] < 0.01
    behind = np.diag([-1.0, 1.0, -1.0, 1.0])
    assert usefulness(points(), behind, K, HW).max() == 0


def test_views_of_other_parts_go_before_more_of_the_same() -> None:
    left, right = np.repeat([1.0, 0.0], 5), np.repeat([0.0, 0.6], 5)
    assert choose([left, left, right], 2) == [0, 2]
    assert choose([left, left * 0], 5) == [0]
    assert choose([], 5) == []


def test_the_solver_solves() -> None:
    rng = np.random.default_rng(0)
    lines, hold = rng.random((7, 2, 3), np.float32), rng.random((6, 3), np.float32)
    found = _solve(lines, hold)
    for column in range(3):
        matrix = np.eye(7)
        for i, h in enumerate(hold[:, column]):
            matrix[[i, i + 1], [i, i + 1]] += h
            matrix[[i, i + 1], [i + 1, i]] -= h
        np.testing.assert_allclose(found[:, :, column], np.linalg.solve(matrix, lines[:, :, column]), atol=1e-5)


def test_values_spread_up_to_an_edge_of_the_picture() -> None:
    guide = np.full(HW, 50, np.uint8)
    guide[:, 40:] = 200
    value, weight = np.zeros(HW, np.float32), np.zeros(HW, np.float32)
    value[:, :5], weight[:, :5] = 0.3, 1
    found = spread(value, weight, guide, 400.0, 8.0, 1e-6)
    assert abs(found[30, 35] - 0.3) < 0.02
    strong = spread(np.where(np.arange(80) < 40, value, -0.3), np.where(np.arange(80) > 74, 1, weight), guide, 400, 8.0)
    assert strong[30, 38] > 0.2
    assert strong[30, 42] < -0.2


def plane(a: float, b: float, c: float) -> np.ndarray:
    y, x = np.mgrid[0 : HW[0], 0 : HW[1]]
    return (a + b * (x / HW[1] - 0.5) + c * (y / HW[0] - 0.5)).astype(np.float32)


def test_a_flat_part_becomes_the_plane_through_its_rim() -> None:
    grey = np.full(HW, 120, np.uint8)
    truth = plane(0.5, 0.2, -0.1)
    waves = 1 + 0.1 * np.sin(np.arange(80) / 8)
    sure = np.zeros(HW, np.float32)
    sure[:6], sure[-6:] = 1, 1
    matched = np.where(sure > 0, truth, truth * waves).astype(np.float32)
    found, belief = flattened(matched, (truth * waves).astype(np.float32), sure, grey)
    inside = belief > 0.5
    assert inside[10:50, 10:70].all()
    assert np.abs(np.log(found[inside] / truth[inside])).max() < 0.01
    assert np.abs(np.log(matched / truth)).max() > 0.08


def test_what_is_no_plane_is_left_alone() -> None:
    grey = np.full(HW, 120, np.uint8)
    rng = np.random.default_rng(1)
    rough = np.exp(rng.normal(0, 0.3, HW)).astype(np.float32)
    _, belief = flattened(rough, rough, np.ones(HW, np.float32), grey)
    assert not belief.any()
    busy = rng.integers(0, 255, HW, np.uint8)
    flat = plane(0.5, 0, 0)
    assert not flattened(flat, flat, np.ones(HW, np.float32), busy)[1].any()


def test_others_that_see_the_same_support_and_those_that_see_beyond_contradict() -> None:
    depth, sure = np.full(HW, 2.0, np.float32), np.ones(HW, np.float32)
    same = Neighbour(depth, sure, K, moved(0.2))
    found = agreement(depth, sure, K, [same])
    assert found.support[30, 40] == 1
    assert not found.conflict.any()
    assert found.support[30, 2] == 0  # left of what the other sees
    in_air = depth.copy()
    in_air[25:35, 35:45] = 1.5
    found = agreement(in_air, sure, K, [same])
    assert found.conflict[30, 40] == 1
    assert found.support[30, 40] == 0
    hidden = agreement(np.full(HW, 2.5, np.float32), sure, K, [same])
    assert not hidden.conflict.any(), "it may lie behind what the other sees"


def test_what_agrees_is_averaged() -> None:
    depth, sure = np.full(HW, 2.0, np.float32), np.ones(HW, np.float32)
    other = Neighbour(np.full(HW, 2.02, np.float32), sure, K, np.eye(4))
    shift = agreement(depth, sure, K, [other]).log_shift
    np.testing.assert_allclose(np.exp(shift) * 2.0, 2.01, atol=1e-3)


def test_what_is_unsure_is_taken_over_from_others_and_what_is_sure_stays() -> None:
    sure = np.ones(HW, np.float32)
    others = [Neighbour(np.full(HW, 2.0, np.float32), sure, K, moved(x)) for x in (-0.2, 0.2)]
    depth, certainty = np.full(HW, 2.0, np.float32), np.ones(HW, np.float32)
    depth[:, 40:], certainty[:, 40:] = 3.5, 0  # the network was far off there, and nothing was matched
    depth[:, :40] = 2.1  # sure of something else
    grey = np.full(HW, 120, np.uint8)
    grey[:, 40:] = 200
    shift = borrowed(depth, certainty, grey, K, others)
    assert shift.shape == (30, 40)
    found = depth[1::2, 1::2] * np.exp(shift)
    np.testing.assert_allclose(found[:, 21:], 2.0, rtol=0.06)
    assert np.median(np.abs(found[:, 21:] - 2.0)) < 0.03  # one's own depth has a little weight everywhere
    np.testing.assert_allclose(found[:, :18], 2.1, rtol=0.01)
    assert not borrowed(depth, certainty, grey, K, []).any()


def test_of_several_the_surface_that_most_agree_on_counts_and_of_one_the_nearest_point() -> None:
    sure = np.ones(HW, np.float32)
    at = [Neighbour(np.full(HW, z, np.float32), sure, K, np.eye(4)) for z in (2.0, 2.02, 1.5)]
    seen, weight = seen_from_here(HW, K, at)
    np.testing.assert_allclose(seen[10, 10], 2.01, atol=2e-3)
    assert weight[10, 10] == 1
    seen, weight = seen_from_here(HW, K, at[2:])
    np.testing.assert_allclose(seen[10, 10], 1.5, rtol=1e-5)
    assert weight[10, 10] == 0.5
    before = np.full(HW, 4.0, np.float32)
    before[:, 30:50] = 1.0  # a pole, which hides from here more than from there
    seen, _ = seen_from_here(HW, K, [Neighbour(before, sure, K, moved(0.3))])
    assert (seen[20, 26:34] < 1.01).all(), "moved by 21 pixels, and nothing behind it shines through"
    unsure = Neighbour(before, np.full(HW, 0.2, np.float32), K, np.eye(4))
    assert not seen_from_here(HW, K, [unsure])[1].any()
