"""The window rule: live takes what waits, a file fills each window, a fixed number is a fixed number."""

from pathlib import Path

import pytest

from spark3r_stream.engine.scheduler import FILE_WINDOW, MAX_WINDOW, WindowPlan, most_new_frames, plan_window
from spark3r_stream.sources.open import is_surely_a_file


def test_live_takes_what_waits_and_a_file_fills_its_windows() -> None:
    assert plan_window(is_live=True, window=None, max_frames=8) == WindowPlan(1, 8)
    assert plan_window(is_live=False, window=None, max_frames=8) == WindowPlan(FILE_WINDOW, FILE_WINDOW)
    assert plan_window(is_live=False, window=None, max_frames=2) == WindowPlan(2, 2)


def test_slots_are_reserved_for_what_a_source_may_use() -> None:
    assert (most_new_frames(None, is_file=True), most_new_frames(None, is_file=False)) == (FILE_WINDOW, MAX_WINDOW)
    assert most_new_frames(12, is_file=False) == 12
    for is_live in (True, False):
        assert plan_window(is_live, None, most_new_frames(None, not is_live)).max_frames <= MAX_WINDOW


def test_only_what_waits_for_its_reader_is_surely_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    for uri in (str(tmp_path), str(tmp_path / "clip.mp4"), "synthetic:room?frames=3"):
        assert is_surely_a_file(uri)
    for uri in ("webcam:0", "/dev/null", "rtsp://a/b", "http://a/b.mp4", "synthetic:room?live=1", "missing.mp4"):
        assert not is_surely_a_file(uri)


def test_a_fixed_window_is_kept_or_refused() -> None:
    assert plan_window(is_live=True, window=3) == WindowPlan(3, 3)
    for window in (0, 9):
        with pytest.raises(ValueError, match="1 to 8"):
            plan_window(is_live=False, window=window)
