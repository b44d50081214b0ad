"""What `spark3r run` says on its way and at its end, and to whom: -q, -v, no terminal, NO_COLOR."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spark3r_stream.cli import progress
from spark3r_stream.cli.main import split_verbosity
from tests.helpers import spark3r

ROOT = Path(__file__).parents[3]
SCENE = "synthetic:room?seed=3&frames=16&size=128x96"
SMALL = ("--size", "96")


def test_the_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my result"
    assert spark3r(monkeypatch, "run", SCENE, *SMALL, "--out", out, "--record", tmp_path / "run.mcap") == 0
    err = capfd.readouterr().err
    assert err.startswith(f"16 frames reconstructed, 0 lost, {re.findall('([0-9.]+) FPS', err)[0]} FPS; results in ")
    assert re.search(r"^  map: \d keyframes, [\d.]+ MiB$", err, re.MULTILINE)
    assert re.search(r"^  how sure: .*TRACKING \d+%", err, re.MULTILINE)
    assert re.search(r"^  camera: 128x96, focal length \d+ px ± [\d.]+ % \(estimated; ", err, re.MULTILINE)
    assert re.search(
        rf"^  written: in {out}: trajectory\.txt \(\d+ KiB\), .*preview\.png \(\d+ KiB\)$", err, re.MULTILINE
    )
    assert f"  written: {tmp_path / 'run.mcap'} (" in err
    assert err.endswith(f"next: spark3r view '{out}'\n")


def test_a_line_now_and_then_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.05)
    assert spark3r(monkeypatch, "run", SCENE, *SMALL) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("frame ")]
    assert len(lines) >= 2
    assert all(re.match(r"frame \d+/16 +[\d.]+ FPS ", line) for line in lines)
    assert any("left" in line for line in lines)


def test_quiet_says_only_what_is_wrong(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.05)
    assert spark3r(monkeypatch, "run", SCENE, *SMALL, "-q", "--json") == 0
    assert capfd.readouterr().err == ""
    assert spark3r(monkeypatch, "-q", "run", "nothing.mp4") == 1
    assert capfd.readouterr().err.startswith("spark3r: error: nothing.mp4")


def test_verbosity_may_stand_anywhere() -> None:
    assert split_verbosity(["-v", "run", "a.mp4", "--out", "b"]) == (["run", "a.mp4", "--out", "b"], 10)
    assert split_verbosity(["run", "a.mp4", "--quiet"]) == (["run", "a.mp4"], 30)
    assert split_verbosity(["run", "-vq"]) == (["run", "-vq"], 20)


def test_no_color_on_a_terminal() -> None:
    """The line of a run in a terminal has no colours with NO_COLOR (no-color.org), and stays bold."""
    kept = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    environment = {**kept, "TERM": "xterm-256color", "COLUMNS": "200", "NO_COLOR": "1"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "spark3r_stream", "run", SCENE, *SMALL]
    run = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while data := os.read(ours, 65536):
            said += data
    os.close(ours)
    assert run.wait(60) == 0
    assert b"frame 16/16" in said
    assert b"\x1b[1m" in said
    assert not re.search(rb"\x1b\[[\d;]*3\d[\d;]*m", said)
