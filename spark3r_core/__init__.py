"""Spark3R core: models, attention memory and geometry of streaming 3D reconstruction.

    from spark3r_core import load_model, reconstruct, Reduction, StreamSession, MemoryConfig

Names load on first use, so that `import spark3r_core` (and its geometry) needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark3r_core.memory.config import MemoryConfig
    from spark3r_core.models.registry import load_model
    from spark3r_core.offline.reconstruct import Reconstruction, reconstruct
    from spark3r_core.stream.estimates import FrameEstimate, WindowResult
    from spark3r_core.stream.session import StreamSession
    from spark3r_core.tokens.schedule import Reduction

_HOME = {
    "load_model": "spark3r_core.models.registry",
    "reconstruct": "spark3r_core.offline.reconstruct",
    "Reconstruction": "spark3r_core.offline.reconstruct",
    "Reduction": "spark3r_core.tokens.schedule",
    "StreamSession": "spark3r_core.stream.session",
    "MemoryConfig": "spark3r_core.memory.config",
    "FrameEstimate": "spark3r_core.stream.estimates",
    "WindowResult": "spark3r_core.stream.estimates",
}

__all__ = [
    "load_model",
    "reconstruct",
    "Reconstruction",
    "Reduction",
    "StreamSession",
    "MemoryConfig",
    "FrameEstimate",
    "WindowResult",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
