"""One model that maps the keyframes of several streams, each into a map of its own, one call at a time.

A stream has at most one call under way (`MapperThread`), and calls are taken in the order in which they came: so
streams take turns, and none waits for more than one call of each other, and for one look. After a keyframe was mapped,
it is looked for in the maps of the other streams (`cameras_together.py`); no map is changed by that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.facts import ModelFacts
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.cameras_together import CamerasTogether, MergedMaps, Rooted, Together, merged_maps
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_update import MapOptions, MapUpdate
from spark3r_core.stream.meeting import Relation
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.mapper_host import CalledMapper
from spark3r_stream.map_file.joins_file import JOINS_FILE, merged_name, write_joins
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.map_file.writing import write_map

log = logging.getLogger(__name__)


class StreamMappers(Protocol):
    """The maps of several streams, in this process or another; called by one thread at a time."""

    memory: MemoryConfig
    options: MapOptions

    @property
    def facts(self) -> ModelFacts: ...

    def call(self, stream: int, name: str, *arguments: Any) -> Any:
        """A method of the `MapperHost` of a stream."""
        ...

    def look(self, stream: int, frame_id: int) -> dict[int, Rooted] | None:
        """Look for a keyframe of a stream in the maps of the others; where all maps lie then, if it changed that."""
        ...

    def relate(self, first: int, second: int, first_from_second: Sim3, scale_std: float) -> dict[int, Rooted]:
        """Where the maps of two streams lie, by a rig that both are on; where all maps lie then."""
        ...

    def finish_together(self) -> list[Together]:
        """After the last keyframe of all: maps that have places in common, adjusted as one."""
        ...

    def go_on_with(self, relations: Mapping[tuple[int, int], Relation]) -> dict[int, Rooted]:
        """How maps that streams go on in were joined, by an earlier run; where all maps lie then."""
        ...

    def save_together(self, folder: Path, names: Mapping[int, str], facts: Mapping[int, MapFacts]) -> None:
        """Write what the last `finish_together` gave, and how maps were joined. names: of the streams; facts: what
        their maps are made from. Raises MapFileError or OSError."""
        ...

    def check(self) -> None: ...

    def close(self) -> None: ...


class FollowedMapper:
    """The mapper of one stream, and whether subscribers know where its map lies.

    gave_up: a map that frames were tracked on was given up; the present one lies where nobody knows.
    """

    def __init__(self, host: LocalMapper) -> None:
        self.host = host
        self.gave_up = False
        self._is_followed = False  # there is a map that frames were tracked on

    def open(self, world: KeyframeMap, *, gave_up: bool) -> None:
        """Go on in a map that subscribers know. gave_up: as it was before."""
        self.host.open(world, False)
        self.gave_up, self._is_followed = gave_up, True

    def call(self, name: str, *arguments: Any) -> Any:
        """A method of the `MapperHost`."""
        answer = getattr(self.host, name)(*arguments)
        if isinstance(answer, MapUpdate) and answer.reference is not None:
            self._is_followed = True
        if name == "open":
            self._is_followed = True  # its keyframes are published
        if name == "begin" and self._is_followed:  # else nothing lies in the map that is given up
            self.gave_up = True
        return answer


class LocalMappers:
    """They are in this process: a model on a GPU, or at hand already."""

    def __init__(self, model: Backbone, memory: MemoryConfig, options: MapOptions | None = None, streams: int = 1):
        self.model, self.memory, self.options = model, memory, options or MapOptions()
        self._streams = [FollowedMapper(LocalMapper(model, memory, self.options)) for _ in range(streams)]
        self._together = CamerasTogether(streams)
        self._merged: list[MergedMaps] = []

    @property
    def facts(self) -> ModelFacts:
        return self.model.facts

    def call(self, stream: int, name: str, *arguments: Any) -> Any:
        answer = self._streams[stream].call(name, *arguments)
        if name == "begin":
            self._together.forget(stream)
        return answer

    def look(self, stream: int, frame_id: int) -> dict[int, Rooted] | None:
        worlds = self._worlds()
        is_there = stream in worlds and frame_id in worlds[stream].keyframes
        return self._together.rooted if is_there and self._together.look(stream, frame_id, worlds) else None

    def relate(self, first: int, second: int, first_from_second: Sim3, scale_std: float) -> dict[int, Rooted]:
        self._together.relate(first, second, first_from_second, scale_std)
        return self._together.rooted

    def finish_together(self) -> list[Together]:
        worlds = self._worlds()
        self._merged = merged_maps(worlds)
        return [both.together(worlds) for both in self._merged]

    def go_on_with(self, relations: Mapping[tuple[int, int], Relation]) -> dict[int, Rooted]:
        self._together.go_on_with(relations)
        return self._together.rooted

    def save_together(self, folder: Path, names: Mapping[int, str], facts: Mapping[int, MapFacts]) -> None:
        write_joins(folder / JOINS_FILE, self._together.relations, names)
        for number, both in enumerate(self._merged):
            root = min(both.shifts)
            if root in facts:
                write_map(folder / merged_name(number), both.map, facts[root].about(both.map), overwrite=True)

    def _worlds(self) -> dict[int, KeyframeMap]:
        streams = enumerate(self._streams)
        return {number: one.host.world for number, one in streams if not one.gave_up and one.host.world.keyframes}

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


class SharedMapper:
    """Hands out a `MapperHost` for each stream. Close it when all of them are.

    rooted: where the maps of streams lie among each other, by stream; empty until two of them were joined.
    """

    def __init__(self, mappers: StreamMappers) -> None:
        self.rooted: dict[int, Rooted] = {}
        self._mappers = mappers
        self._joins = mappers.options.closes_loops and mappers.options.adjusts
        self._to_look: dict[int, int] = {}  # by stream, its newest keyframe
        self._looking = threading.Lock()
        self._turns = ThreadPoolExecutor(1, thread_name_prefix="spark3r-mapping")

    def stream(self, number: int) -> MappedStream:
        return MappedStream(self._mappers, number, self._in_turn)

    def go_on_with(self, relations: Mapping[tuple[int, int], Relation]) -> None:
        """See `StreamMappers.go_on_with`."""
        if relations and self._joins:
            self.rooted = self._turns.submit(self._mappers.go_on_with, relations).result()

    def save_together(self, folder: Path, names: Mapping[int, str], facts: Mapping[int, MapFacts]) -> None:
        """See `StreamMappers.save_together`."""
        self._turns.submit(self._mappers.save_together, folder, names, facts).result()

    def relate(self, first: int, second: int, first_from_second: Sim3, scale_std: float) -> None:
        """See `StreamMappers.relate`; it is done in its turn."""
        self._turns.submit(self._relate, first, second, first_from_second, scale_std)

    def finish_together(self) -> list[Together]:
        """See `StreamMappers.finish_together`; nothing where places are not recognised. What was to be done before is
        done by then."""
        return self._turns.submit(self._mappers.finish_together if self._joins else list[Together]).result()

    def close(self) -> None:
        """End what is under way. Further calls do nothing."""
        self._turns.shutdown(wait=False, cancel_futures=True)
        self._mappers.close()
        self._turns.shutdown(wait=True)

    def _in_turn(self, stream: int, name: str, *arguments: Any) -> Any:
        answer = self._turns.submit(self._mappers.call, stream, name, *arguments).result()
        if self._joins and isinstance(answer, MapUpdate) and answer.keyframe is not None:
            with self._looking:
                is_waiting = stream in self._to_look
                self._to_look[stream] = answer.frame_id
            if not is_waiting:  # else the look that waits takes the newer one
                self._turns.submit(self._look, stream)
        return answer

    def _relate(self, first: int, second: int, first_from_second: Sim3, scale_std: float) -> None:
        try:
            self.rooted = self._mappers.relate(first, second, first_from_second, scale_std)
        except Exception:  # mapping goes on without
            log.exception("maps %d and %d could not be joined by their rig", first, second)

    def _look(self, stream: int) -> None:
        with self._looking:
            frame_id = self._to_look.pop(stream)
        try:
            self.rooted = self._mappers.look(stream, frame_id) or self.rooted
        except Exception:  # mapping goes on without
            log.exception("keyframe %d could not be looked for in other maps", frame_id)


class MappedStream(CalledMapper):
    """The `MapperHost` of one stream of several."""

    def __init__(self, mappers: StreamMappers, number: int, in_turn: Callable[..., Any]) -> None:
        self.memory, self.options = mappers.memory, mappers.options
        self._mappers, self._number, self._in_turn = mappers, number, in_turn

    @property
    def facts(self) -> ModelFacts:
        return self._mappers.facts

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._in_turn(self._number, name, *arguments)

    def check(self) -> None:
        self._mappers.check()

    def close(self) -> None:
        """What is under way is waited for: the others need the model."""
