"""The saved map that a run goes on in, and the one that it leaves."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.metadata import version

from spark3r_stream.clock import Clock
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.engine.map_saver import MapSaver
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import MapFileError, RecordingError
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.map_file.target import check_map_target
from spark3r_stream.plain_text import unicode_text
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.redact import redact_uri

log = logging.getLogger(__name__)


def opened_map(config: RunConfig, run: RecordedRun | None) -> Reopening | None:
    """The saved map that a run goes on in, None where it begins one of its own. run: the recorded run to be made again,
    which begins from what it began from then.

    Raises ConfigError, MapFileError or RecordingError where that cannot be.
    """
    if config.map is None:
        return None
    if run is not None:
        if run.map_sha256 is None:
            check_map_target(config.map, config.overwrite)
            return None
    elif config.overwrite or not config.map.exists() or config.map.stat().st_size == 0:
        if config.localise:
            raise ConfigError(f"--localise needs a map to find the camera in; there is none in {config.map}")
        return None
    saved = read_map(config.map)
    if run is not None and saved.sha256 != run.map_sha256:
        raise RecordingError(
            f"{run.path} began from a map with sha256 {run.map_sha256}, and {config.map} has {saved.sha256}; give the"
            " file as it was then"
        )
    if config.loops == "off":
        raise ConfigError("a camera is found in a saved map by its places, and --loops off recognises none")
    if saved.facts.model != config.model:
        raise ConfigError(
            f"the map {config.map} was made with --model {saved.facts.model}, this run is with {config.model}; use the"
            " same, or name another map"
        )
    return Reopening.of(saved, str(config.map), is_read_only=config.localise)


def map_saver(
    config: RunConfig,
    reconstructor: TrackingReconstructor,
    source: Source,
    clock: Clock,
    reopening: Reopening | None = None,
) -> MapSaver:
    """What writes the map of a run. reopening: the one that it goes on in. Raises MapFileError where it would replace
    something."""
    if config.map is None:
        raise ConfigError("there is no file for the map; give one with --map")

    def facts_of(captured_ns: int) -> MapFacts:
        if reopening is not None:
            return replace(reopening.facts, program=version("spark3r-stream"), metres=reconstructor.metres)
        return MapFacts(
            source_id=unicode_text(redact_uri(config.source)),
            source_kind=source.info.kind.value,
            fps=source.info.nominal_fps,
            captured_ns=captured_ns,
            captured_clock="unix" if source.info.captured_is_unix else "source",
            model=config.model,
            program=version("spark3r-stream"),
            metres=reconstructor.metres,
        )

    def report(error: MapFileError) -> None:
        log.error("the map is not written now, mapping goes on: %s", error)

    overwrite = config.overwrite or reopening is not None
    return MapSaver(config.map, reconstructor, facts_of, clock, overwrite=overwrite, on_error=report)
