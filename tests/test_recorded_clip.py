"""The clip in tests/data, which the package's plugin runs again (pyproject.toml), is small and close to the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark3r_stream.recording.reader import Recording
from spark3r_stream.testing import assert_ate
from tools.record_clip import WORLD

CLIP = Path(__file__).parent / "data" / "room.mcap"


def test_twenty_seconds_fit_into_a_megabyte() -> None:
    assert CLIP.stat().st_size <= 1_000_000
    recording = Recording(CLIP)
    times_ns = [message.envelope.captured_ns for message in recording.messages(["/frame/"])]
    assert (times_ns[-1] - times_ns[0]) / 1e9 == pytest.approx(20, abs=0.1)
    assert recording.info().complete


def test_the_recorded_path_is_close_to_the_truth() -> None:
    assert_ate(CLIP, WORLD, 0.06, rotation_deg=0.5)


def test_the_plugin_finds_it(request: pytest.FixtureRequest) -> None:
    assert any(CLIP.match(pattern) for pattern in request.config.getini("spark3r_recordings"))
