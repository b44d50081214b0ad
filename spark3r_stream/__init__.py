"""Spark3R-Stream: live video in, camera poses and geometry out over ZeroMQ.

from spark3r_stream import Subscriber, decode      # no torch on this side

Names load on first use: importing the package costs nothing, and the command line sets up its process before numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark3r_stream.pubsub.subscriber import Subscriber
    from spark3r_stream.wire.decode import decode

_HOME = {"Subscriber": "spark3r_stream.pubsub.subscriber", "decode": "spark3r_stream.wire.decode"}

__all__ = ["Subscriber", "decode"]

__version__ = "0.1.0"  # pyproject.toml reads it here


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
