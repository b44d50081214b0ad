"""A recording for the tests of this folder that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark3r_stream.wire.envelope import Message
from tests.stream.recording.small_recording import record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Message]]:
    path = tmp_path_factory.mktemp("recording") / "run.mcap"
    return path, record(path)
