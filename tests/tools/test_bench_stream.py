"""The stream benchmark: JSON and nothing else on stdout, and numbers that add up."""

from __future__ import annotations

import json
import sys

import pytest

from tools import bench_stream

TINY = ["bundled", "synthetic:room?frames=5&size=64x48", "--weights", "random", "--size", "48"]


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> dict:
    monkeypatch.setattr(sys, "argv", ["bench_stream.py", *TINY, *arguments])
    bench_stream.main()
    return json.loads(capfd.readouterr().out)


def test_a_report_adds_up(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """17 frames of a source of 5 in windows of 2, of which the first does not count: 7 of 2 and one of 1."""
    report = run(
        monkeypatch, capfd, "--frames", "17", "--window", "2", "--warm-up", "1", "--repeats", "2", "--pages", "12"
    )
    assert len(report["repeats"]) == 2
    for result in report["repeats"]:
        assert (result["frames"], result["windows"]) == (15, 8)
        assert result["all_frames_valid"]
        assert result["fps"] == pytest.approx(15 / result["seconds"], rel=1e-2)
        parts = result["mean_ms_per_window"]
        assert set(parts) == {"encode", "decode", "predict", "rest"}
        assert min(parts.values()) > 0
        assert sum(parts.values()) * 8 == pytest.approx(1e3 * result["seconds"], rel=1e-2)
        assert result["window_ms"]["p50"] <= result["window_ms"]["p95"] <= result["window_ms"]["max"]
        assert result["with_full_memory"]["windows"] == 6  # a third of 12 pages each: window 3 evicts
        assert 0 < result["memory_used_bytes"] <= result["memory_limit_bytes"]
    assert report["settings"]["image_hw"] == [36, 48]
    assert report["settings"]["tokens_per_frame"] == 13
    assert report["peak_host_rss_bytes"] > 2**20


def test_the_budget_is_the_streams(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    report = run(monkeypatch, capfd, "--frames", "4", "--warm-up", "0", "--memory", "2MiB")
    assert report["settings"]["max_bytes"] == 2**21
    assert report["repeats"][0]["memory_limit_bytes"] <= 2**21
    assert report["repeats"][0]["with_full_memory"] is None


def test_settings_that_cannot_work_are_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, capfd, "--frames", "8")
    assert "within the warm-up" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="cannot hold one window"):
        run(monkeypatch, capfd, "--memory", "1KiB")
