"""The spread property of the eviction policy, over random streams and capacities."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.memory.policy import spread_victim, view_victim


def keep_spread(history: int, capacity: int, recent: int, admitted_per_window: list[int]) -> list[int]:
    """Admit frames 0..history-1 window by window, evicting down to `capacity` after each as the memory does."""
    kept: list[int] = []
    frame = window = 0
    while frame < history:
        size = min(admitted_per_window[window % len(admitted_per_window)], history - frame)
        kept += range(frame, frame + size)
        frame += size
        window += 1
        while len(kept) > capacity:
            protected = {0} | {f for f in kept if f >= frame - recent}
            kept.remove(spread_victim(kept, protected))
    return kept


@settings(deadline=None, max_examples=150)
@given(st.integers(4, 60), st.integers(2, 12), st.lists(st.integers(1, 8), min_size=1, max_size=5))
def test_pages_stay_spread_over_the_whole_history(capacity: int, times: int, windows: list[int]) -> None:
    history = capacity * times + times // 2
    kept = keep_spread(history, capacity, recent=1, admitted_per_window=windows)
    r = math.ceil(history / capacity)
    gaps = np.diff(kept)
    assert len(kept) == capacity
    assert kept[0] == 0
    assert kept[-1] == history - 1
    assert gaps.max() <= 2 * r
    for multiple in range(0, history, r):
        assert min(abs(multiple - frame) for frame in kept) <= r


@settings(deadline=None, max_examples=100)
@given(st.integers(8, 60), st.integers(2, 10), st.integers(1, 8))
def test_recent_pages_cost_capacity_but_not_the_spread(capacity: int, times: int, window: int) -> None:
    """With the newest `recent` pages kept the property holds for the capacity that is left for the past."""
    recent = min(window, capacity // 4)
    history = capacity * times
    kept = keep_spread(history, capacity, recent, [window])
    r = math.ceil(history / (capacity - recent))
    assert set(range(history - recent, history)) <= set(kept)
    assert np.diff(kept).max() <= 2 * r


def test_anchor_and_newest_stay_when_everything_is_full() -> None:
    kept = keep_spread(500, 2, recent=1, admitted_per_window=[3])
    assert kept == [0, 499]


def test_the_smallest_gap_closes_first_and_the_older_of_equals_goes() -> None:
    assert spread_victim([0, 10, 20, 24, 40]) == 20
    assert spread_victim([0, 1, 2, 3]) == 1
    assert spread_victim([0, 1, 2, 3], protected={1}) == 2


def test_full_protection_still_gives_up_a_page() -> None:
    assert spread_victim([0, 1, 2], protected={0, 1, 2}) == 1
    assert spread_victim([0, 5], protected={0}) == 5
    with pytest.raises(ValueError, match="nothing to choose"):
        spread_victim([3])


def test_view_victim_drops_the_newer_of_the_most_alike() -> None:
    positions = np.array([0.0, 1.0, 1.1, 5.0])
    distances = abs(positions[:, None] - positions[None, :])
    assert view_victim([2, 4, 7, 9], distances) == 7
    assert view_victim([2, 4, 7, 9], distances, protected={7}) == 4
