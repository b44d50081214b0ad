"""Settings of a run, as a program gives them: the options of `spark3r run` by their names."""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any

from spark3r_stream.config import ConfigError, RunConfig

_PATHS = ("out", "record", "map", "camera", "intrinsics", "keys")
_NAMES = [field.name for field in fields(RunConfig) if field.name not in ("source", "others")]
OF_THE_COMMAND = ("json",)  # lines on stdout


def settings(source: str, given: dict[str, Any]) -> RunConfig:
    """Raises ConfigError for an option that there is not."""
    for name in given:
        if name not in _NAMES or name in OF_THE_COMMAND:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; expected an option of `spark3r run`"
            raise ConfigError(f"{name!r} is no setting of a run{hint}")
    paths = {name: Path(given[name]) for name in _PATHS if given.get(name) is not None}
    return RunConfig(source, **{**given, **paths})
