"""`spark3r doctor` tries what it reports."""

from __future__ import annotations

import pytest

from spark3r_stream.viewer import availability
from tests.helpers import spark3r


def test_doctor_serves_a_page_before_it_calls_the_viewer_fine(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "doctor") == 0
    assert "ok        viewer (viser): serves its page" in capfd.readouterr().out

    def broken(name: str) -> None:
        raise OSError("libz.so.1: cannot open shared object file")

    monkeypatch.setattr(availability.importlib, "import_module", broken)
    from spark3r_stream.cli.doctor import _viewer

    finding = _viewer()
    assert (finding.ok, finding.required) == (False, False)
    assert "libz.so.1" in finding.detail
