"""Where keyframes are mapped: one map at a time, in this process. The other place is mapper_process.py."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any, Protocol

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.metric.gps import KnownPlaces
from spark3r_core.models.facts import ModelFacts
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_update import KeyframeRequest, MapOptions, MapUpdate
from spark3r_stream.errors import StreamError
from spark3r_stream.map_file.saved_map import MapFacts


class MapperEnded(StreamError):
    """The mapping process has died, and its map with it: killed, out of memory, or broken."""


class MapperHost(Protocol):
    """Maps keyframes, for one caller at a time; every call takes as long as its work.

    facts: of the model, which may live elsewhere. memory: of its attention. options: what is done with keyframes.
    """

    memory: MemoryConfig
    options: MapOptions

    @property
    def facts(self) -> ModelFacts: ...

    def open(self, world: KeyframeMap, is_fixed: bool) -> None:
        """Go on in a map that was saved, before anything is mapped. is_fixed: its keyframes stay where they are."""
        ...

    def begin(self) -> None:
        """Give the present map up: the next keyframe begins another, which is joined with it where they meet."""
        ...

    def map(self, request: KeyframeRequest) -> MapUpdate:
        """See `Mapper.map`; raises what mapping raised."""
        ...

    def refine(self) -> dict[int, DenseDepth]:
        """See `Mapper.refine`."""
        ...

    def finish(self, refine_all: bool = True, known: KnownPlaces | None = None) -> MapUpdate | None:
        """See `Mapper.finish`."""
        ...

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> int:
        """Write the map to its file, see `write_map`; the bytes written, 0 where there is no map, or none but the
        opened one as it was.

        It is the one that was opened; without one it is the present one, or one that was given up if that has more
        keyframes: a run that is lost in its last second still leaves what it had. Raises MapFileError where the opened
        map is only to be read.
        """
        ...

    def warm_up(self, image_hw: tuple[int, int]) -> None:
        """Run the network once on nothing: its first run takes several times as long as the others."""
        ...

    def check(self) -> None:
        """Raises StreamError if nothing can be mapped any more. May be called at any time."""
        ...

    def close(self) -> None: ...


class CalledMapper(abc.ABC):
    """The calls of a `MapperHost` that is somewhere else, each by its name."""

    @abc.abstractmethod
    def _call(self, name: str, *arguments: Any) -> Any:
        """Call the method of that name there."""

    def open(self, world: KeyframeMap, is_fixed: bool) -> None:
        self._call("open", world, is_fixed)

    def begin(self) -> None:
        self._call("begin")

    def map(self, request: KeyframeRequest) -> MapUpdate:
        return self._call("map", request)  # type: ignore[no-any-return]

    def refine(self) -> dict[int, DenseDepth]:
        return self._call("refine")  # type: ignore[no-any-return]

    def finish(self, refine_all: bool = True, known: KnownPlaces | None = None) -> MapUpdate | None:
        return self._call("finish", refine_all, known)  # type: ignore[no-any-return]

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> int:
        return self._call("save_map", path, facts, overwrite)  # type: ignore[no-any-return]

    def warm_up(self, image_hw: tuple[int, int]) -> None:
        self._call("warm_up", image_hw)
