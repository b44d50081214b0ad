"""One model that maps the keyframes of several streams, each into a map of its own, one call at a time.

A stream has at most one call under way (`MapperThread`), and calls are taken in the order in which they came: so
streams take turns, and none waits for more than one call of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone, ModelFacts
from spark3r_core.stream.dense import DenseDepth
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.mapper import KeyframeRequest, MapOptions, MapUpdate
from spark3r_stream.engine.mapper_host import LocalMapper
from spark3r_stream.map_file.saved_map import MapFacts


class StreamMappers(Protocol):
    """The maps of several streams, in this process or another; called by one thread at a time."""

    memory: MemoryConfig
    options: MapOptions

    @property
    def facts(self) -> ModelFacts: ...

    def call(self, stream: int, name: str, *arguments: Any) -> Any:
        """A method of the `MapperHost` of a stream."""
        ...

    def check(self) -> None: ...

    def close(self) -> None: ...


class LocalMappers:
    """They are in this process: a model on a GPU, or at hand already."""

    def __init__(self, model: Backbone, memory: MemoryConfig, options: MapOptions | None = None, streams: int = 1):
        self.model, self.memory, self.options = model, memory, options or MapOptions()
        self._hosts = [LocalMapper(model, memory, self.options) for _ in range(streams)]

    @property
    def facts(self) -> ModelFacts:
        return self.model.facts

    def call(self, stream: int, name: str, *arguments: Any) -> Any:
        return getattr(self._hosts[stream], name)(*arguments)

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


class SharedMapper:
    """Hands out a `MapperHost` for each stream. Close it when all of them are."""

    def __init__(self, mappers: StreamMappers) -> None:
        self._mappers = mappers
        self._turns = ThreadPoolExecutor(1, thread_name_prefix="spark3r-mapping")

    def stream(self, number: int) -> MappedStream:
        return MappedStream(self._mappers, number, self._in_turn)

    def close(self) -> None:
        """End what is under way. Further calls do nothing."""
        self._turns.shutdown(wait=False, cancel_futures=True)
        self._mappers.close()
        self._turns.shutdown(wait=True)

    def _in_turn(self, stream: int, name: str, *arguments: Any) -> Any:
        return self._turns.submit(self._mappers.call, stream, name, *arguments).result()


class MappedStream:
    """The `MapperHost` of one stream of several."""

    def __init__(self, mappers: StreamMappers, number: int, call: Callable[..., Any]) -> None:
        self.memory, self.options = mappers.memory, mappers.options
        self._mappers, self._number, self._call = mappers, number, call

    @property
    def facts(self) -> ModelFacts:
        return self._mappers.facts

    def open(self, world: KeyframeMap, is_fixed: bool) -> None:
        self._call(self._number, "open", world, is_fixed)

    def begin(self) -> None:
        self._call(self._number, "begin")

    def map(self, request: KeyframeRequest) -> MapUpdate:
        return self._call(self._number, "map", request)  # type: ignore[no-any-return]

    def refine(self) -> dict[int, DenseDepth]:
        return self._call(self._number, "refine")  # type: ignore[no-any-return]

    def finish(self, refine_all: bool = True) -> MapUpdate | None:
        return self._call(self._number, "finish", refine_all)  # type: ignore[no-any-return]

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> int:
        return self._call(self._number, "save_map", path, facts, overwrite)  # type: ignore[no-any-return]

    def warm_up(self, image_hw: tuple[int, int]) -> None:
        self._call(self._number, "warm_up", image_hw)

    def check(self) -> None:
        self._mappers.check()

    def close(self) -> None:
        """What is under way is waited for: the others need the model."""
