"""stats.json: what the run did, as the engine counted it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark3r_stream.outputs.json_files import write_json


def write_stats(path: str | Path, stats: Mapping[str, Any]) -> None:
    """Raises OutputError naming the field if a value is not plain JSON (see `json_files`)."""
    write_json(path, stats)
