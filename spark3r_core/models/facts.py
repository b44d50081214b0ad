"""What callers must know of a model and its family; without torch, for processes that hold no model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spark3r_core.models.digest import file_sha256


@dataclass(frozen=True)
class Capabilities:
    """What callers must know of a family.

    has_reference_frame: one frame carries tokens of its own (VGGT, DA3, Omega); it must be frame 0 of a stream.
    has_gauge: poses of different windows that share the memory are in one frame and scale (not so for pi3).
    native_long_side: longest image side the released weights were trained at, for a 4:3 picture.
    stream_pages: pages a sensitive layer keeps in a stream unless told otherwise (Spark3R: about 40).
    reanchor_every: frames after which a stream begins a new gauge at its newest frame, unless told otherwise; 0: never.
    refines: whether its poses gain by photometric refinement (`spark3r_core.photometric`), which then is the default.
    native_patches: patches per frame they were trained at whatever the shape; None where the long side was fixed.
    """

    has_reference_frame: bool
    has_gauge: bool
    native_long_side: int
    native_patches: int | None = None
    stream_pages: int = 40
    reanchor_every: int = 0
    refines: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """What callers must know of a model that need not hold it. dtype: of its cross-frame attention, `bfloat16`, say;
    device: of its weights. weights_path: the file they were read from; None for random ones."""

    name: str
    patch_size: int
    capabilities: Capabilities
    device: str
    dtype: str
    weights_path: Path | None
    known_sha256: str | None = None

    @cached_property
    def weights_sha256(self) -> str | None:
        """sha256 of the weights file in hexadecimal, for records of a run; None for random weights."""
        if self.known_sha256 is not None or self.weights_path is None:
            return self.known_sha256
        return file_sha256(self.weights_path)
