"""The command line itself: how it is started, and what it says to a command that it does not have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import spark3r_stream
from spark3r_stream.cli.commands import COMMANDS
from spark3r_stream.cli.main import unknown_command
from tests.helpers import spark3r

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "arguments", [("nonsense", "--help"), ("nonsense",), ("--nonsense", "run", "--help"), ("ruN", "-h"), ("",)]
)
def test_an_unknown_command_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert spark3r(monkeypatch, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"spark3r: error: {arguments[0]!r} is no command; ")
    assert err.count("\n") == 1
    assert "reconstruct" in err
    assert "spark3r --help" in err


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert spark3r(monkeypatch, "--version") == 0
    assert capfd.readouterr() == (f"spark3r {spark3r_stream.__version__}\n", "")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "spark3r_stream.__version__"}
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## .*\b{re.escape(spark3r_stream.__version__)}\b", changes, re.MULTILINE)


def test_a_typing_error_is_guessed() -> None:
    assert "did you mean 'replay'?" in (unknown_command(["repaly", "--help"]) or "")
    assert "did you mean" not in (unknown_command(["nonsense"]) or "")
    for known in (*COMMANDS, "-h", "--help", "--tyro-print-completion"):
        assert unknown_command([known]) is None


@pytest.mark.parametrize("command", ["", "run"])  # both have letters that ASCII has not
def test_help_on_an_ascii_console(command: str) -> None:
    """Started as a module, as where `spark3r` is not on PATH."""
    done = subprocess.run(
        [sys.executable, "-m", "spark3r_stream", *command.split(), "--help"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    assert f"usage: spark3r {command}".strip() in done.stdout.decode("ascii")


@pytest.mark.parametrize("arguments", [["-c", "import spark3r_stream"], ["-m", "spark3r_stream", "--help"]])
def test_nobody_waits_for_imports(arguments: list[str]) -> None:
    """What takes long to import is not imported: a time would depend on what else the machine does."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=ROOT, capture_output=True, check=True, text=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "spark3r_stream" in imported
    assert not imported & {"torch", "av", "numpy", "zmq", "cv2", "open3d", "scipy", "ray", "viser", "matplotlib"}
