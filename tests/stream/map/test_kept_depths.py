"""Depth maps that wait for the mesh, in a budget."""

from dataclasses import replace

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.kept_depths import KeptDepths
from tests.stream.viewer.scenes import RED, SIZE, keyframe

EACH = SIZE[0] * SIZE[1] * 7  # depth in float32, three colours


def submaps(kept: KeptDepths) -> list[int]:
    asked: list[int] = []
    kept.posed(lambda submap: asked.append(submap) or Sim3.identity())  # type: ignore[func-returns-value]
    return asked


def test_any_number_of_keyframes_stays_in_the_budget_and_spread_over_the_run() -> None:
    kept = KeptDepths(8 * EACH)
    for submap in range(100):
        kept.add(keyframe(submap, RED))
        assert len(kept) <= 8
    left = submaps(kept)
    assert len(left) == 8
    assert (left[0], left[-1]) == (0, 99)
    assert max(np.diff(left)) <= 40


def test_the_newest_depth_counts_once_and_unsure_pixels_do_not() -> None:
    kept = KeptDepths(4 * EACH)
    one = keyframe(7, RED)
    for factor in range(1, 20):
        kept.add(replace(one, depth=one.depth * factor, confidence=np.tri(*SIZE, dtype=np.float32)))
    kept.add(keyframe(8, RED))
    first, second = kept.posed(lambda submap: Sim3(float(submap), np.eye(3), np.zeros(3)))
    assert set(np.unique(first.depth)) == {0, 38}
    assert (first.map_from_keyframe.scale, second.map_from_keyframe.scale) == (7, 8)
    assert (first.depth == 0).mean() > 0.3
