"""Text that did not come from us, made fit for a terminal, for messages and for files of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_CHARACTERS = 400


def cleaned(text: object, limit: int | None = MAX_CHARACTERS) -> str:
    """`text` on one line, with what a terminal would obey or hide written as \\x1b, \\n, \\u202e; cut at `limit`."""
    full = str(text)
    kept = full if limit is None else full[:limit]
    line = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in kept
    )
    return line if len(kept) == len(full) else f"{line}… ({len(full)} characters)"


def unicode_text(text: str) -> str:
    """`text` with what is not Unicode written as \\udcXX: on Linux a name is bytes, and need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def without_nan(value: Any) -> Any:
    """Plain values as JSON has them: NaN and infinity become null, keys text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value
