"""The window rule: live takes what waits, a file fills each window, a fixed number is a fixed number."""

import pytest

from spark3r_stream.scheduler import FILE_WINDOW, WindowPlan, plan_window


def test_live_takes_what_waits_and_a_file_fills_its_windows() -> None:
    assert plan_window(is_live=True, window=None, max_frames=8) == WindowPlan(1, 8)
    assert plan_window(is_live=False, window=None, max_frames=8) == WindowPlan(FILE_WINDOW, FILE_WINDOW)
    assert plan_window(is_live=False, window=None, max_frames=2) == WindowPlan(2, 2)


def test_a_fixed_window_is_kept_or_refused() -> None:
    assert plan_window(is_live=True, window=3) == WindowPlan(3, 3)
    for window in (0, 9):
        with pytest.raises(ValueError, match="1 to 8"):
            plan_window(is_live=False, window=window)
