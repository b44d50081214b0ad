"""`spark3r run`: the engine with a line of progress, ended by signals."""

from __future__ import annotations

import contextlib
import logging
import sys

from spark3r_stream.cli.closing import closing_lines
from spark3r_stream.cli.progress import LiveLine, LiveLines
from spark3r_stream.cli.stop import Interrupted, Stop
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.sinks import JsonSink
from spark3r_stream.engine.steady import keep_freed_memory, long_lived_objects
from spark3r_stream.running.run import opened_run
from spark3r_stream.viewer.launch import launch_viewer

log = logging.getLogger(__name__)

NOTHING_KEPT = "note: results are shown and not kept; --out, --map, --publish, --record, --view or --json keeps them"


def run_command(config: RunConfig) -> int:
    """Exit code: 0 at the end of the source or after stopping a live one; 130/143 for a file cut short."""
    stop = Stop()
    try:
        return _run(config, stop)
    except Interrupted:  # before the first frame: there is nothing to keep, and everything is closed
        return stop.exit_code(is_live=False)


def _run(config: RunConfig, stop: Stop) -> int:
    keep_freed_memory()
    with stop.on_signals():  # a signal does not cut short the writing of results
        with (
            opened_run(config, stop.event, stop.interrupting, lasting=config.json) as run,
            contextlib.ExitStack() as closing,
        ):
            if not run.keeps and not config.json:
                log.warning(NOTHING_KEPT)
            if config.json:
                run.sinks.append(JsonSink(sys.stdout))
            elif log.isEnabledFor(logging.INFO):
                progress = LiveLine(run.stats, run.source.info.frame_count, config.max_frames)
                closing.enter_context(LiveLines(progress))
            if config.view and run.publisher is not None:
                closing.enter_context(launch_viewer(run.publisher.endpoint, config.keys))
            with long_lived_objects():
                for _ in run.steps():
                    pass
        if not config.json:
            for line in closing_lines(run.config, run.stats, stop.event.is_set()):
                log.info("%s", line)
        comparison = run.comparison
        if comparison is not None and not (config.json and comparison.is_repeated):
            log.log(logging.INFO if comparison.is_repeated else logging.WARNING, "%s", comparison.summary())
        code = stop.exit_code(run.source.info.is_live)
        return code or int(comparison is not None and not comparison.is_repeated)
