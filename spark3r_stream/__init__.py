"""Spark3R-Stream: live video in, camera poses and geometry out.

`run` and `Mapper` are the engine, in this process. `Subscriber` and `decode` receive what another one publishes, and
need no torch. Names load on first use: importing the package costs nothing, and the command line sets up its process
before numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark3r_stream.api.mapper import Mapper
    from spark3r_stream.api.results import Keyframe, Map, Result
    from spark3r_stream.api.run import Run, run
    from spark3r_stream.pubsub.subscriber import Subscriber
    from spark3r_stream.wire.decode import decode

_HOME = {
    "run": "spark3r_stream.api.run",
    "Run": "spark3r_stream.api.run",
    "Mapper": "spark3r_stream.api.mapper",
    "Result": "spark3r_stream.api.results",
    "Keyframe": "spark3r_stream.api.results",
    "Map": "spark3r_stream.api.results",
    "Subscriber": "spark3r_stream.pubsub.subscriber",
    "decode": "spark3r_stream.wire.decode",
}

__all__ = ["run", "Mapper", "Subscriber", "decode", "Run", "Result", "Keyframe", "Map"]

__version__ = "0.1.0"  # pyproject.toml reads it here


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
