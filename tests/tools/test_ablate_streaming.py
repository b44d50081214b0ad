"""The streaming ablation end to end on a tiny stream: every kind of row, at the bytes it claims."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import ablate_streaming
from tools.ablate_streaming import SETTINGS, Setting


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({setting.label for setting in SETTINGS}) == len(SETTINGS)


def test_rows_are_measured_at_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [Setting(), Setting("causal"), Setting("consolidate", "views"), Setting(pages=12), Setting(new=64)]
    monkeypatch.setattr(ablate_streaming, "SETTINGS", chosen)
    stream = "synthetic:room?seed=7&frames=10&size=64x48"
    out = tmp_path / "streaming"
    monkeypatch.setattr(
        sys, "argv", ["ablate", "--sequences", stream, "--weights", "random", "--max-frames", "10", "--out", str(out)]
    )
    assert ablate_streaming.main() == 0
    rows = json.loads(out.with_suffix(".json").read_text())["networks"]["bundled, random"]["rows"]
    assert list(rows) == ["no motion", *(setting.label for setting in chosen[:4])], "64 slots do not fit: left out"
    support, causal, consolidate, pages = (rows[setting.label] for setting in chosen[:4])
    assert (causal["cost"], support["cost"]) == (1.0, (10 + 0 + 2 + 2) / 10)
    assert consolidate["cost"] == (10 + 4) / 10, (
        "ten frames, and a pass after the first window; eight more did not come"
    )
    for row in (causal, consolidate):
        assert 0.8 * support["memory_mib"] < row["memory_mib"] <= support["memory_mib"]
    assert consolidate["pages"] < support["pages"] < causal["pages"]
    assert pages["pages"] == 4, "a third: no layer of the bundled network is sensitive"
    assert all(row["ate_of_spread"] > 0 for row in rows.values())
    assert support_line(out) == 7
    assert "64 new" not in out.with_suffix(".md").read_text()


def support_line(out: Path) -> int:
    """Columns of the first row with a memory."""
    lines = out.with_suffix(".md").read_text().splitlines()
    return next(line for line in lines if line.startswith("| support")).count(" | ")
