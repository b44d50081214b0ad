"""`spark3r doctor` tries what it reports."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest

from spark3r_stream.viewer import availability, offscreen
from tests.helpers import spark3r


def test_doctor_serves_a_page_before_it_calls_the_viewer_fine(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "doctor") == 0
    assert "ok        page (viser): is served" in capfd.readouterr().out

    def broken(name: str) -> None:
        raise OSError("libz.so.1: cannot open shared object file")

    monkeypatch.setattr(availability.importlib, "import_module", broken)
    from spark3r_stream.cli.doctor import _page

    finding = _page()
    assert (finding.ok, finding.required) == (False, False)
    assert "libz.so.1" in finding.detail


def test_doctor_says_it_part_by_part_and_draws(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "doctor") == 0
    out = capfd.readouterr().out
    parts = ["base: subscribes, replays, records", "engine: reconstructs", "viewer", "GPU", "cameras"]
    assert [line for line in out.splitlines() if line in parts] == parts
    assert re.search(r"^ok        picture: [1-9]\d* pixels of a test scene are drawn$", out, re.MULTILINE)
    monkeypatch.setattr(offscreen, "splat", lambda pixels, depth, colours, size, image, square: image)
    assert spark3r(monkeypatch, "doctor") == 0, "the viewer is optional"
    assert "optional  picture: 0 pixels of a test scene are drawn" in capfd.readouterr().out


def test_without_the_engine_its_parts_are_optional(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else found(name))
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert spark3r(monkeypatch, "doctor") == 0
    out = capfd.readouterr().out
    assert "optional  cv2: " in out
    assert "to reconstruct on this machine: pip install 'spark3r-stream[engine]'" in out
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert spark3r(monkeypatch, "doctor") == 1
    assert "missing   cv2: " in capfd.readouterr().out
