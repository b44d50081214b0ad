"""`spark3r run`: build every part from the settings, run the engine, close everything whatever happens."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

from spark3r_core.user_paths import expand_home
from spark3r_stream.cli.build import build_reconstructor, is_file
from spark3r_stream.cli.maps import map_saver, opened_map
from spark3r_stream.cli.opening import ground_truth, open_publisher, open_recorder, open_run_source
from spark3r_stream.cli.progress import LiveLine
from spark3r_stream.cli.report import run_report, summary
from spark3r_stream.cli.rerun import (
    RunEnd,
    check_weights,
    recorded_camera,
    recorded_config,
    recorded_end,
    recorded_new_frames,
    recorded_threads,
)
from spark3r_stream.cli.stop import Interrupted, Stop
from spark3r_stream.cli.targets import check_targets
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.files_sink import FilesSink
from spark3r_stream.engine.loop import EngineConfig, Sink, run_stream
from spark3r_stream.engine.mapper_process import MapperProcess
from spark3r_stream.engine.run_stats import SESSION_STATE, RunStats
from spark3r_stream.engine.scheduler import WindowPlan, plan_window
from spark3r_stream.engine.sinks import ComparisonSink, DecisionsSink, Heartbeat, JsonSink, MessageSink, WireSink
from spark3r_stream.engine.steady import keep_freed_memory, long_lived_objects
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import OutputError, StreamError
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.recording.comparison import Comparison
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.open import is_recording
from spark3r_stream.viewer.launch import launch_viewer
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import CapturedClock, SessionState

NOTHING_KEPT = (
    "spark3r: note: results are shown and not kept; --out, --map, --publish, --record, --view or --json keeps them"
)


def run_command(config: RunConfig) -> int:
    """Exit code: 0 at the end of the source or after stopping a live one; 130/143 for a file cut short."""
    config.check()
    check_targets(config)
    stop = Stop()
    try:
        return _run(config, stop)
    except Interrupted:  # before the first frame: there is nothing to keep, and everything is closed
        return stop.exit_code(is_live=False)


def _run(config: RunConfig, stop: Stop) -> int:
    keep_freed_memory()
    clock = SystemClock()
    run = RecordedRun.load(expand_home(config.source)) if is_recording(config.source) else None
    if run is not None:
        config = recorded_config(config, run)
    reopening = opened_map(config, run)
    mapper = MapperProcess() if config.track == "on" and config.device in ("auto", "cpu") else None
    with stop.on_signals(), contextlib.ExitStack() as closing:  # a signal does not cut short the writing of results
        if mapper is not None:
            closing.callback(mapper.close)
        # What can fail at once comes first: a port in use must not cost the loading of a model.
        session_id = uuid.uuid4()
        failures: list[StreamError] = []  # of threads that died; the run ends as failed

        def ended(error: StreamError) -> None:
            failures.append(error)
            print(f"spark3r: {cleaned(error)}", file=sys.stderr)
            stop.event.set()  # nobody sees this run any more: whoever supervises it starts another

        publisher = open_publisher(config, session_id, closing, ended)
        if run is not None:
            closing.enter_context(recorded_threads(run))
        with stop.interrupting():
            camera, new_frames = (None, None) if run is None else (recorded_camera(run), recorded_new_frames(run))
            reconstructor = build_reconstructor(config, camera, new_frames, mapper, reopening)
        closing.callback(reconstructor.close)
        if run is not None:
            check_weights(run, reconstructor)
        end = RunEnd(adjusts_all=True, refines=not is_file(config)) if run is None else recorded_end(run)
        recorder = open_recorder(config, reconstructor, clock, closing, end, reopening)
        with stop.interrupting():
            source = closing.enter_context(contextlib.closing(open_run_source(config, run, recorder, clock, reopening)))
        for note in source.info.notes:
            print(f"spark3r: note: {cleaned(note)}", file=sys.stderr)
        stats = RunStats(clock, source.info.name, config.model)
        sinks: list[Sink] = []
        targets: list[MessageSink] = [target for target in (publisher, recorder) if target is not None]
        if not targets and run is None and config.out is None and config.map is None and not config.json:
            print(NOTHING_KEPT, file=sys.stderr)
        if targets:
            captured_clock = CapturedClock.UNIX if source.info.captured_is_unix else CapturedClock.SOURCE
            sealer = Sealer(session_id, clock.unix_ns, captured_clock, replay=run is not None)
            wire = WireSink(sealer, targets)
            sinks.append(wire)
            closing.enter_context(_heartbeat(wire, stats, source, publisher, recorder, ended))
        if recorder is not None:
            sinks.append(DecisionsSink(recorder, clock, _torch_threads()))
        comparison = None
        if run is not None:
            comparison = Comparison(
                run.path, decided_only=bool(run.cut), with_end=config.max_frames is None and not run.cut
            )
            sinks.append(ComparisonSink(comparison))
        if config.out is not None:
            writer = ResultWriter(config.out, config.max_points, config.save_depth, source.info.has_own_times)
            goes_on = source.info.is_live and (bool(targets) or config.json)  # there is more than the files to run for
            files = FilesSink(writer, lossless=not source.info.is_live, on_error=_results_stopped if goes_on else None)
            sinks.append(files)
            truth = ground_truth(source)
            closing.callback(
                lambda: writer.close(run_report(config, stats, source, reconstructor, comparison, files.counts), truth)
            )
            closing.callback(files.close)  # runs first: what waits is written before the files are closed
        # A run that is made again leaves the map that it began from as it is: else there would be no third time.
        saves = config.map is not None and not config.localise and (run is None or reopening is None)
        if saves and isinstance(reconstructor, TrackingReconstructor):
            saver = map_saver(config, reconstructor, source, clock, reopening)
            sinks.append(closing.enter_context(contextlib.closing(saver)))
        if config.json:
            sinks.append(JsonSink(sys.stdout))
        else:
            sinks.append(closing.enter_context(LiveLine(stats, source.info.frame_count, config.max_frames)))
        if config.view and publisher is not None:
            closing.enter_context(launch_viewer(publisher.endpoint, config.keys))
        window = None if config.window == "auto" else int(config.window)
        plan = WindowPlan(1, 1)
        if config.track == "off":
            plan = plan_window(source.info.is_live, window, reconstructor.memory.max_new_frames)
        engine = EngineConfig(plan, max_frames=config.max_frames, adjusts_all=end.adjusts_all)
        if isinstance(reconstructor, TrackingReconstructor):
            engine = replace(engine, queue_frames=TRACKED_QUEUE)
            reconstructor.waits, reconstructor.refines = not source.info.is_live, end.refines
            if source.info.is_live:
                reconstructor.warm_up(source.info.size)
        decided = None if run is None else run.decisions
        try:
            with long_lived_objects():
                run_stream(source, reconstructor, sinks, engine, stats, clock, stop.event, decided)
        finally:
            stats.finish()
        if comparison is not None and run is not None and config.max_frames is None and not stop.event.is_set():
            comparison.finish()
        _raise_what_ended(failures, recorder)
        if stats.failed and not stats.processed_frames:
            raise StreamError(f"no frame of {source.info.name} could be reconstructed: {stats.last_error}")
    _raise_what_ended(failures, recorder)  # while everything was closed
    if not config.json:
        print(cleaned(summary(config, stats)), file=sys.stderr)
    if comparison is not None and not (config.json and comparison.is_repeated):
        print(cleaned(comparison.summary()), file=sys.stderr)
    code = stop.exit_code(source.info.is_live)
    return code or int(comparison is not None and not comparison.is_repeated)


def _raise_what_ended(failures: list[StreamError], recorder: Recorder | None) -> None:
    """Raises what a thread died of. A disk that is full ends a recording and not the run: that is no fault of ours."""
    if failures:
        raise failures[0]
    if recorder is not None and recorder.broken and recorder.error is not None:
        raise recorder.error


def _results_stopped(error: OutputError) -> None:
    print(f"spark3r: results are not written any more, mapping goes on: {cleaned(error)}", file=sys.stderr)


# Frames that may wait for the tracker: as many as come while the first keyframe is mapped, before anything is tracked.
# More would be a lag that a machine which is too slow never makes good.
TRACKED_QUEUE = 10


@contextlib.contextmanager
def _heartbeat(
    wire: WireSink,
    stats: RunStats,
    source: Source,
    publisher: Publisher | None,
    recorder: Recorder | None,
    on_error: Callable[[StreamError], None],
) -> Iterator[None]:
    """Status once a second while the block runs, and a last one that says how it ended."""

    def beat(state: SessionState | None = None) -> None:
        status = stats.status(
            state or SESSION_STATE[source.state],
            subscribers=0 if publisher is None else publisher.subscribers,
            messages_dropped=0 if publisher is None else publisher.dropped,
            recording_dropped=0 if recorder is None else sum(recorder.dropped.values()),
        )
        wire.status(status, stats.captured_ns)

    def died(error: Exception) -> None:
        cause = f"{type(error).__name__}: {error}"
        on_error(StreamError(f"the heartbeat broke off: {cause}; this is a fault of the program"))

    beat()
    try:
        with Heartbeat(beat, died):
            yield
    except BaseException as error:
        stats.last_error = str(error) or type(error).__name__
        with contextlib.suppress(Exception):  # of these two errors the first one counts
            beat(SessionState.FAILED)
        raise
    beat(SessionState.ENDED)


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()
