"""What bounded maps are held against: the oldest keyframe goes, and never the first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tools.eval_budgets import recent, settings


def _world(frame_ids: list[int], fixed: frozenset[int] = frozenset()) -> Any:
    keyframes = {frame_id: SimpleNamespace(nbytes=10) for frame_id in frame_ids}
    return SimpleNamespace(order=frame_ids, keyframes=keyframes, nbytes=10 * len(frame_ids), fixed=fixed)


def test_the_oldest_goes_until_it_fits() -> None:
    world = _world([0, 5, 9, 12, 20])
    assert recent(world, 50) == []
    assert recent(world, 29) == [5, 9, 12]
    assert recent(world, 31, protected={9}) == [5, 12]
    assert recent(_world([0, 5, 9], frozenset({5})), 0) == []


def test_each_setting_bounds_one_thing() -> None:
    for setting in settings(0.1):
        assert (setting.map_share is None) != (setting.page_share is None)
