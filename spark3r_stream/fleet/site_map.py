"""The actor that has the maps of all cameras: where they lie among each other, the map of all, and their files.

Mappers send what changed (`replica.py`), newest first. A keyframe that came is looked for in the maps of the others in
a thread beside that; one that waits gives way to a newer one of its camera. Files are written now and then, and a
process that takes this one's place begins with them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from spark3r_core.stream.cameras_together import CamerasTogether, Rooted, Together, merged_maps
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import opened
from spark3r_stream.camera_name import working_for
from spark3r_stream.errors import MapFileError
from spark3r_stream.fleet.log_lines import LogLine, LogLines
from spark3r_stream.fleet.replica import MapChange, Replica
from spark3r_stream.map_file.joins_file import JOINS_FILE, merged_name, read_joins, write_joins
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.map_file.writing import write_map
from spark3r_stream.wire.envelope import MOST_CAMERAS

log = logging.getLogger(__name__)

SAVE_EVERY_S = 30.0


@dataclass(frozen=True)
class SiteBeat:
    """What the fleet is told each second. rooted: where maps lie, by camera. keyframes: of the maps, by camera.
    replaced: keyframes that gave way to a newer one before they were looked for, by camera. saved_s: since files were
    written; None: not yet."""

    pid: int
    memory_bytes: int
    rooted: dict[int, Rooted]
    keyframes: dict[int, int]
    looked: int
    look_s: float
    replaced: dict[int, int]
    taken_bytes: int
    saved_s: float | None
    lines: list[LogLine]


class SiteMap:
    """folder: of the files. model: that all maps are made with. joins: whether maps are joined. names: of the cameras,
    by number.

    Raises MapFileError for files that are there and cannot be gone on in.
    """

    def __init__(self, folder: Path, model: str, joins: bool, names: Mapping[int, str], log_level: int) -> None:
        self._lines = LogLines(log_level)
        self._folder, self._model, self._joins = folder, model, joins
        self._names: dict[int, str] = {}
        self._maps: dict[int, Replica] = {}
        self._facts: dict[int, MapFacts] = {}
        self._together = CamerasTogether(max(MOST_CAMERAS, len(names)))
        self._to_look: dict[int, int] = {}  # newest keyframe by camera, those who wait longest first
        self._unsaved: set[int] = set()
        self._replaced: dict[int, int] = {}
        self._looked, self._look_s, self._taken_bytes = 0, 0.0, 0
        self._saved_s: float | None = None
        self._guard = threading.Condition()
        self._saving = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in names.items():
            self.add(number, name)
        self._together.go_on_with(read_joins(folder / JOINS_FILE, self._names))
        for work, thread in ((self._look_for_places, "spark3r-looking"), (self._save_often, "spark3r-saving")):
            threading.Thread(target=work, name=thread, daemon=True).start()

    def add(self, number: int, name: str) -> None:
        """One more camera, with what its file holds."""
        path = self._file(name)
        if path.exists() and number not in self._maps:
            saved = read_map(path)
            if saved.facts.model != self._model:
                raise MapFileError(
                    f"the map {path} was made with --model {saved.facts.model}, this fleet is with {self._model};"
                    " use the same, or another folder"
                )
            with self._guard:
                self._maps[number] = Replica.of(opened(saved.world, is_fixed=False))
                self._facts[number] = saved.facts
        self._names[number] = name

    def about(self, number: int, facts: MapFacts) -> None:
        """What a camera's map is made from."""
        with self._guard:
            self._facts.setdefault(number, facts)

    def take(self, number: int, change: MapChange) -> bool:
        """A map as it is now; False where all of it has to be sent."""
        with self._guard:
            replica = self._maps.setdefault(number, Replica())
            before = replica.gave_up
            if not replica.apply(change):
                return False
            self._taken_bytes += change.nbytes
            self._unsaved.add(number)
            if change.gave_up and not before:
                self._together.forget(number)
                self._to_look.pop(number, None)
            if self._joins and change.whole and not change.gave_up:
                if number in self._to_look:
                    self._replaced[number] = self._replaced.get(number, 0) + 1
                self._to_look[number] = max(change.whole)
                self._guard.notify()
            return True

    def world(self, number: int) -> KeyframeMap | None:
        """A camera's map, to go on in; None where there is none."""
        with self._guard:
            replica = self._maps.get(number)
            world = None if replica is None else replica.whole()
        return world if world is not None and world.keyframes else None

    def rooted(self) -> dict[int, Rooted]:
        """Where maps lie among each other, by camera; empty until two of them were joined."""
        return dict(self._together.rooted) if self._together.relations else {}

    def finish_together(self) -> list[Together]:
        """After the last keyframe of all: maps that have places in common made one, adjusted, and kept in a file."""
        worlds = {}
        with self._guard:
            for number, replica in self._maps.items():
                if replica.world.keyframes and not replica.gave_up:
                    worlds[number] = replica.whole()
        found = merged_maps(worlds) if self._joins else []
        for number, both in enumerate(found):
            path = self._folder / merged_name(number)
            facts = self._facts.get(min(both.shifts))
            with contextlib.suppress(MapFileError):
                if facts is not None:
                    write_map(path, both.map, facts.about(both.map), overwrite=True)
        return [both.together(worlds) for both in found]

    def save(self) -> None:
        """Write the maps that changed since they were written."""
        with self._saving:
            with self._guard:
                changed = {number for number in self._unsaved if number in self._names}
                self._unsaved -= changed
                worlds = {number: (self._maps[number].whole(), self._facts.get(number)) for number in changed}
            for number, (world, facts) in worlds.items():
                if facts is None or not world.keyframes:
                    continue
                try:
                    write_map(self._file(self._names[number]), world, facts.about(world), overwrite=True)
                except MapFileError as error:
                    with working_for(self._names[number]):
                        log.error("the map is not written now, mapping goes on: %s", error)
                    self._unsaved.add(number)
            self._saved_s = time.monotonic()

    def beat(self) -> SiteBeat:
        with self._guard:
            keyframes = {number: len(replica.world.keyframes) for number, replica in self._maps.items()}
            saved_s = None if self._saved_s is None else time.monotonic() - self._saved_s
            return SiteBeat(
                os.getpid(), psutil.Process().memory_info().rss, self.rooted(), keyframes, self._looked, self._look_s,
                dict(self._replaced), self._taken_bytes, saved_s, self._lines.take(),
            )  # fmt: skip

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.s3rmap"

    def _look_for_places(self) -> None:
        while True:
            with self._guard:
                self._guard.wait_for(lambda: self._to_look)
                number = next(iter(self._to_look))
                frame_id = self._to_look.pop(number)
                worlds = {
                    one: replica.world
                    for one, replica in self._maps.items()
                    if replica.world.keyframes and not replica.gave_up
                }
            begun_s = time.monotonic()
            try:
                if number in worlds and frame_id in worlds[number].keyframes:
                    self._look(number, frame_id, worlds)
            except Exception:  # mapping goes on without
                log.exception("keyframe %d could not be looked for in other maps", frame_id)
            self._looked += 1
            self._look_s += time.monotonic() - begun_s

    def _look(self, number: int, frame_id: int, worlds: Mapping[int, KeyframeMap]) -> None:
        if self._together.look(number, frame_id, worlds):
            write_joins(self._folder / JOINS_FILE, self._together.relations, self._names)

    def _save_often(self) -> None:
        while True:
            time.sleep(SAVE_EVERY_S)
            try:
                self.save()
            except Exception:
                log.exception("maps could not be written")
