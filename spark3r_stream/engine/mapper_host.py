"""Where keyframes are mapped: one map at a time, in this process. The other place is mapper_process.py."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone, ModelFacts
from spark3r_core.stream.mapper import KeyframeRequest, Mapper, MapUpdate
from spark3r_core.stream.session import StreamSession


class MapperHost(Protocol):
    """Maps keyframes, for one caller at a time; every call takes as long as its work.

    facts: of the model, which may live elsewhere. memory: of its attention.
    """

    memory: MemoryConfig

    @property
    def facts(self) -> ModelFacts: ...

    def begin(self) -> None:
        """Give the present map up: the next keyframe begins another."""
        ...

    def map(self, request: KeyframeRequest) -> MapUpdate:
        """See `Mapper.map`; raises what mapping raised."""
        ...

    def finish(self) -> MapUpdate | None:
        """See `Mapper.finish`."""
        ...

    def warm_up(self, image_hw: tuple[int, int]) -> None:
        """Run the network once on nothing: its first run takes several times as long as the others."""
        ...

    def check(self) -> None:
        """Raises StreamError if nothing can be mapped any more. May be called at any time."""
        ...

    def close(self) -> None: ...


class LocalMapper:
    """Maps in the process of the caller: where the work is the GPU's, and where a model is at hand already.

    adjusts: whether keyframes are adjusted together; without, it is an odometer, for comparison.
    """

    def __init__(self, model: Backbone, memory: MemoryConfig, *, adjusts: bool = True) -> None:
        self.model, self.memory, self._adjusts = model, memory, adjusts
        self._mapper = Mapper(model, memory, adjusts=adjusts)

    @property
    def facts(self) -> ModelFacts:
        return self.model.facts

    def begin(self) -> None:
        self._mapper = Mapper(self.model, self.memory, adjusts=self._adjusts)

    def map(self, request: KeyframeRequest) -> MapUpdate:
        return self._mapper.map(request)

    def finish(self) -> MapUpdate | None:
        return self._mapper.finish()

    def warm_up(self, image_hw: tuple[int, int]) -> None:
        image = np.zeros((1, 3, *image_hw), np.uint8)
        StreamSession(self.model, self.memory, refine=False, tied=True).step(image, [0])

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass
