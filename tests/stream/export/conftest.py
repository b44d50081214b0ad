"""One map for all exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel
from tests.helpers_map import orbit_map


@pytest.fixture(scope="module")
def model() -> ExportModel:
    return ExportModel(orbit_map())


@pytest.fixture
def folder(tmp_path: Path) -> ExportFolder:
    return ExportFolder(tmp_path / "out")
