"""What is said of Python's versions is the same everywhere, and what runs this test is one of them."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from spark3r_stream.cli import doctor

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def promised() -> tuple[int, int]:
    """Lowest and highest minor version of `requires-python`."""
    found = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert found is not None, PYPROJECT["project"]["requires-python"]
    return int(found[1]), int(found[2]) - 1


def test_every_place_says_the_same() -> None:
    lowest, highest = promised()
    prefix = "Programming Language :: Python :: 3."
    classifiers = [line.removeprefix(prefix) for line in PYPROJECT["project"]["classifiers"] if line.startswith(prefix)]
    assert classifiers == [str(minor) for minor in range(lowest, highest + 1)]
    assert f"Python 3.{lowest} to 3.{highest}." in (ROOT / "README.md").read_text()
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{lowest}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == f"3.{lowest}"
    assert lowest <= sys.version_info.minor <= highest


def test_doctor_wants_the_lowest(monkeypatch: pytest.MonkeyPatch) -> None:
    lowest = promised()[0]

    class Version(tuple):
        major, minor, micro = property(lambda v: v[0]), property(lambda v: v[1]), property(lambda v: v[2])

    for minor, ok in ((lowest - 1, False), (lowest, True)):
        monkeypatch.setattr(doctor.sys, "version_info", Version((3, minor, 0)))
        assert doctor._python().ok is ok
