"""`spark3r run SOURCE SOURCE …`: several cameras in one process."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Sequence

from spark3r_stream.camera_name import working_for
from spark3r_stream.cli.closing import closing_lines
from spark3r_stream.cli.progress import LiveLine, LiveLines
from spark3r_stream.cli.run import NOTHING_KEPT
from spark3r_stream.cli.stop import Interrupted, Stop
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.sinks import JsonSink
from spark3r_stream.engine.steady import keep_freed_memory, long_lived_objects
from spark3r_stream.frame import Frame
from spark3r_stream.running.cameras import cameras_of
from spark3r_stream.running.open_run import OpenRun
from spark3r_stream.running.several import CameraRun, Several, opened_several
from spark3r_stream.viewer.launch import launch_viewer

log = logging.getLogger(__name__)


def several_command(config: RunConfig) -> int:
    """Exit code: 0 when all ended well; 1 when one failed; 130/143 when a signal cut a file short."""
    stop = Stop()
    try:
        return _run(config, stop)
    except Interrupted:
        return stop.exit_code(is_live=False)


def _run(config: RunConfig, stop: Stop) -> int:
    cameras = cameras_of(config)
    keep_freed_memory()
    lines, stdout = LiveLines(), threading.Lock()

    def on_open(camera: CameraRun, run: OpenRun) -> None:
        if config.json:
            run.sinks.append(_InTurn(JsonSink(sys.stdout, camera.name), stdout))
        lines.add(LiveLine(run.stats, run.source.info.frame_count, config.max_frames, camera.name))

    with stop.on_signals():
        with contextlib.ExitStack() as closing:
            several = closing.enter_context(opened_several(config, cameras, stop.interrupting, on_open))
            if not (config.out or config.record or several.publisher or config.json):
                log.warning(NOTHING_KEPT)
            if config.view and several.publisher is not None:
                closing.enter_context(launch_viewer(several.publisher.endpoint, config.keys))
            if not config.json and log.isEnabledFor(logging.INFO):
                closing.enter_context(lines)
            several.wait_opened(stop.event)
            with long_lived_objects():
                several.wait(stop.event)
        if not config.json:
            _say_how_it_went(several, stop.event.is_set())
        return stop.exit_code(several.is_live) or int(bool(several.failed))


def _say_how_it_went(several: Several, was_stopped: bool) -> None:
    for one in several.runs:
        if one.run is None:
            continue
        with working_for(one.name):
            unit = None if one.run.placed is None else one.run.placed.map_unit
            *facts, what_next = closing_lines(one.config, one.run.stats, was_stopped, unit)
            for line in (*facts, f"  lies in: {_map_of(one, several)}", what_next):
                log.info("%s", line)
    if several.failed:
        log.error("ended by an error: %s", ", ".join(one.name for one in several.failed))


def _map_of(one: CameraRun, several: Several) -> str:
    frame = _frame_of(one)
    others = [other.name for other in several.runs if other is not one and frame and _frame_of(other) == frame]
    return f"the map {frame}, with {', '.join(others)}" if others else f"a map of its own, {frame}"


def _frame_of(one: CameraRun) -> str:
    return "" if one.run is None or one.run.placed is None else one.run.placed.map_frame


class _InTurn:
    """A sink that shares its stream with those of other threads."""

    def __init__(self, sink: JsonSink, lock: threading.Lock) -> None:
        self._sink, self._lock = sink, lock

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        with self._lock:
            self._sink.window(frames, result)
