"""Recordings as tests: pytest runs each file that `spark3r_recordings` names again (docs/testing.md).

[tool.pytest.ini_options]
spark3r_recordings = ["clips/*.mcap"]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("spark3r_recordings", "recordings that are run again as tests: patterns below the root", "linelist")
    for name, what in (("ate", "share of the path's spread"), ("rotation", "degrees over a second, median")):
        parser.addini(f"spark3r_{name}", f"compare trajectories, not bytes: {what}", default="")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> RecordingFile | None:
    if file_path.suffix != ".mcap":
        return None
    try:
        inside = file_path.relative_to(parent.config.rootpath)
    except ValueError:
        return None
    if any(inside.match(pattern) for pattern in parent.config.getini("spark3r_recordings")):
        return RecordingFile.from_parent(parent, path=file_path)  # type: ignore[no-any-return]
    return None


class RecordingFile(pytest.File):
    """A recording."""

    def collect(self) -> Iterator[pytest.Item]:
        yield RecordingItem.from_parent(self, name="same")


class RecordingItem(pytest.Item):
    """That it comes out the same."""

    def runtest(self) -> None:
        from spark3r_stream.testing import assert_same

        assert_same(self.path, ate=self._limit("spark3r_ate"), rotation_deg=self._limit("spark3r_rotation"))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if excinfo.errisinstance(AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.path.name}: the same again"

    def _limit(self, name: str) -> float | None:
        text = str(self.config.getini(name))
        try:
            return float(text) if text else None
        except ValueError:
            raise pytest.UsageError(f"{name} is {text!r}; expected a number") from None
