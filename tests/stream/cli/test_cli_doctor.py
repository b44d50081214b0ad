"""`spark3r doctor` tries what it reports."""

from __future__ import annotations

import pytest

from spark3r_stream.errors import ViewerUnavailable
from spark3r_stream.viewer import offscreen
from tests.helpers import spark3r


def test_doctor_draws_a_picture_before_it_calls_the_viewer_fine(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_driver(*_: object) -> None:
        raise ViewerUnavailable("Open3D cannot render here (no driver)")

    monkeypatch.setattr(offscreen, "require_installed", lambda: None)
    monkeypatch.setattr(offscreen, "_run_renderer", no_driver)
    assert spark3r(monkeypatch, "doctor") == 0
    assert "optional  viewer (open3d): Open3D cannot render here (no driver)" in capfd.readouterr().out
