"""JSON files written whole or not at all, with values that any JSON reader accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark3r_stream.errors import OutputError
from spark3r_stream.files import write_whole


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write `content`, indented, through a file beside `path`.

    Raises OutputError naming the field for NaN, infinity, numpy values or anything else that JSON has no word for:
    Python would write `NaN`, which other readers reject.
    """
    _check(content, "")
    try:
        write_whole(Path(path), (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _check(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise OutputError(f"field {where or 'at the top'} has the key {key!r}; JSON keys are strings")
            _check(item, f"{where}.{key}" if where else key)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise OutputError(f"field {where} is {value}, which JSON cannot hold; leave it out or write null")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise OutputError(f"field {where} is a {type(value).__name__}; expected plain numbers, text, lists or objects")
