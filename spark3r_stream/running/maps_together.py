"""The folder of maps that several cameras go on in, and leave."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spark3r_core.stream.meeting import Relation
from spark3r_stream.config import RunConfig
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.joins_file import JOINS_FILE, read_joins
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.running.cameras import Camera

if TYPE_CHECKING:
    from spark3r_stream.engine.shared_mapper import SharedMapper

log = logging.getLogger(__name__)


def joins_of(config: RunConfig, cameras: Sequence[Camera]) -> Mapping[tuple[int, int], Relation]:
    """How maps that cameras go on in were joined. Raises MapFileError for a file that says nothing of the kind."""
    if config.map is None or config.overwrite:
        return {}
    there = {number for number, one in enumerate(cameras) if one.config.map is not None and one.config.map.exists()}
    names = {number: camera.name for number, camera in enumerate(cameras)}
    joins = read_joins(config.map / JOINS_FILE, names)
    return {pair: relation for pair, relation in joins.items() if there.issuperset(pair)}


def save_together(config: RunConfig, cameras: Sequence[Camera], mapper: SharedMapper) -> None:
    """After the cameras' own maps were written: the maps that they have in common, and how they were joined."""
    if config.map is None:
        return
    names = {number: camera.name for number, camera in enumerate(cameras)}
    try:
        facts = {
            number: read_map(camera.config.map).facts
            for number, camera in enumerate(cameras)
            if camera.config.map is not None and camera.config.map.exists()
        }
        mapper.save_together(config.map, names, facts)
    except (MapFileError, OSError) as error:
        log.error("what the maps have in common is not written: %s", error)
