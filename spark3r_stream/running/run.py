"""A run from its settings: every part built, opened in the right order, and closed whatever happens.

`opened_run` is what `spark3r run` and `spark3r_stream.run` share. What it has to say goes to `logging`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spark3r_core.user_paths import expand_home
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.files_sink import FilesSink
from spark3r_stream.engine.loop import AnyReconstructor, EngineConfig, Sink
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.engine.scheduler import WindowPlan, plan_window
from spark3r_stream.engine.sinks import ComparisonSink, DecisionsSink, MessageSink, WireSink
from spark3r_stream.engine.thinning import Thinning
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import OutputError, StreamError
from spark3r_stream.outputs.mesh_files import require_mesh
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.packets import PacketHook
from spark3r_stream.recording.comparison import Comparison
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.running.among import Among
from spark3r_stream.running.build import build_reconstructor, is_file
from spark3r_stream.running.heartbeat import Publishes, heartbeat, status_of
from spark3r_stream.running.maps import map_saver, opened_map
from spark3r_stream.running.open_run import OpenRun
from spark3r_stream.running.opening import (
    ground_truth,
    open_metrics,
    open_publisher,
    open_recorder,
    open_run_source,
    thinning_options,
)
from spark3r_stream.running.remembered import with_remembered_camera
from spark3r_stream.running.report import run_report
from spark3r_stream.running.rerun import (
    RunEnd,
    check_weights,
    recorded_camera,
    recorded_config,
    recorded_end,
    recorded_new_frames,
    recorded_threads,
)
from spark3r_stream.running.sensors import check_sensor, open_depth_images, open_positions, open_sensor
from spark3r_stream.running.targets import check_targets
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.open import is_recording
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import CapturedClock

if TYPE_CHECKING:
    from spark3r_stream.engine.mapper_process import MapperProcess

log = logging.getLogger(__name__)

# Frames that may wait for the tracker: as many as come while the first keyframe is mapped, before anything is tracked.
# More would be a lag that a machine which is too slow never makes good.
TRACKED_QUEUE = 10


@contextlib.contextmanager
def opened_run(
    config: RunConfig,
    stop: threading.Event,
    interrupting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    pushed: Callable[[PacketHook | None], Source] | None = None,
    lasting: bool = False,
    among: Among | None = None,
) -> Iterator[OpenRun]:
    """The parts of a run, opened; leaving the block closes them, and results are written by then.

    interrupting: a context in which whatever may take long happens. pushed: makes the source, given where its packets
    go, in place of the one that the settings name. lasting: the caller wants the frames whatever becomes of the
    files of a live run. among: what this run, of one camera, shares with the others of its process.
    Raises what the settings, files and addresses give cause for before anything runs, and at the end what a thread of
    the run died of, or that no frame could be reconstructed.
    """
    config.check()
    check_targets(config)
    thinning = thinning_options(config)
    if config.mesh:
        require_mesh()
    clock = SystemClock()
    run = RecordedRun.load(expand_home(config.source)) if pushed is None and is_recording(config.source) else None
    if run is not None:
        config = recorded_config(config, run)
    elif pushed is None:
        config = with_remembered_camera(config)
    reopening = opened_map(config, run) if among is None or among.reopening is None else among.reopening
    resumption = None if among is None else among.resumption
    own_mapper = among is None and config.track == "on" and config.device in ("auto", "cpu")
    mapper = _mapper_process() if own_mapper else None
    with contextlib.ExitStack() as closing:
        if mapper is not None:
            closing.callback(mapper.close)
        # What can fail at once comes first: a port in use must not cost the loading of a model.
        session_id = uuid.uuid4()
        failures: list[StreamError] = []

        def ended(error: StreamError) -> None:
            failures.append(error)
            log.error("%s", error)
            stop.set()  # nobody sees this run any more: whoever supervises it starts another

        def why_it_was_stopped(kind: type[BaseException] | None, *_: object) -> None:
            if failures and kind is not None and not issubclass(kind, Exception):
                raise failures[0] from None  # it asked for the stop while something was being opened

        closing.push(why_it_was_stopped)
        sensor, depth_images = open_sensor(config), open_depth_images(config)
        gps = open_positions(config, is_recorded=run is not None)
        for one in (sensor, depth_images, gps):
            if one is not None:
                closing.enter_context(contextlib.closing(one))
        publisher: Publishes | None
        if among is None:
            publisher, metrics = open_publisher(config, session_id, closing, ended), open_metrics(config, closing)
        else:
            publisher, metrics = among.publisher, None
        if run is not None:
            closing.enter_context(recorded_threads(run))
        with interrupting():
            camera, new_frames = (None, None) if run is None else (recorded_camera(run), recorded_new_frames(run))
            host = None if among is None else among.host
            first_submap = 0 if resumption is None else resumption.next_submap
            reconstructor = build_reconstructor(config, camera, new_frames, mapper, reopening, host, first_submap)
        closing.callback(reconstructor.close)
        if run is not None:
            check_weights(run, reconstructor)
        with interrupting():
            waits = is_file(config) if pushed is None else not config.live
            end = RunEnd(adjusts_all=True, refines=not waits) if run is None else recorded_end(run)
            recorder = open_recorder(config, reconstructor, clock, closing, end, reopening)
            if pushed is None:
                source = open_run_source(config, run, recorder, clock, reopening, resumption)
            else:
                source = pushed(None if recorder is None else recorder.packet)
            closing.enter_context(contextlib.closing(source))
            for listener in (sensor, gps):
                if listener is not None:
                    check_sensor(listener, config, source)
        for note in source.info.notes:
            log.warning("note: %s", note)
        stats = RunStats(clock, source.info.name, config.model)
        opened = OpenRun(
            config,
            source,
            reconstructor,
            stats,
            clock,
            _engine_config(config, source, reconstructor, end),
            stop,
            publisher=publisher,
            recorder=recorder,
            decided=None if run is None else run.decisions,
            failures=failures,
        )
        sinks = opened.sinks
        targets: list[MessageSink] = [target for target in (publisher, recorder) if target is not None]
        captured_clock = CapturedClock.UNIX if source.info.captured_is_unix else CapturedClock.SOURCE
        own = targets if among is None else targets[among.publisher is not None :]  # what gets this run as it is
        placed: list[Sink] = []  # with several cameras: what gets it where it lies among them
        wires: list[WireSink] = []
        # One numbering for all who get the same, and one of its own for a publisher that gets less.
        same = [[target] for target in own] if thinning.leaves_out else [own]
        for each in filter(None, same):
            sealer = Sealer(session_id, clock.unix_ns, captured_clock, replay=run is not None)
            less = Thinning(thinning) if publisher in each else None
            wires.append(WireSink(sealer, each, thinning=less))
        sinks += wires
        if among is not None and among.publisher is not None:
            if among.notes is not None:
                placed.append(among.notes)
            placed.append(among.wire(clock, captured_clock, Thinning(thinning)))
        wires += [sink for sink in placed if isinstance(sink, WireSink)]
        if wires:
            closing.enter_context(heartbeat(wires, stats, source, publisher, recorder, ended))
        if metrics is not None:
            from spark3r_stream.metrics.families import Measured, families

            def measured() -> list[Measured]:
                status = status_of(stats, source, publisher, recorder)
                return [Measured(source.info.name, status, stats.keyframes, stats.latency)]

            metrics.serve(lambda: families(measured()))
        if recorder is not None:
            sinks.append(DecisionsSink(recorder, clock, _torch_threads()))
        comparison = None
        if run is not None:
            comparison = opened.comparison = Comparison(
                run.path, decided_only=bool(run.cut), with_end=config.max_frames is None and not run.cut
            )
            sinks.append(ComparisonSink(comparison))
        if config.out is not None:
            has_own_times = source.info.has_own_times
            writer = ResultWriter(config.out, config.max_points, config.save_depth, has_own_times, config.mesh)
            goes_on = source.info.is_live and (bool(targets) or lasting)  # there is more than the files to run for
            files = FilesSink(writer, lossless=not source.info.is_live, on_error=_results_stopped if goes_on else None)
            (sinks if among is None else placed).append(files)
            truth = ground_truth(source)

            def report() -> dict[str, Any]:
                placed = opened.placed
                lies_in, unit = ("", None) if placed is None else (placed.map_frame, placed.map_unit)
                return run_report(config, stats, source, reconstructor, comparison, files.counts, lies_in, unit)

            closing.callback(lambda: writer.close(report(), truth))
            closing.callback(files.close)  # runs first: what waits is written before the files are closed
        if among is not None:
            if among.rig is not None:
                sinks.append(among.rig)
            opened.placed = among.placed(placed)
            sinks.append(opened.placed)
        # A run that is made again leaves the map that it began from as it is: else there would be no third time.
        saves = config.map is not None and not config.localise and (run is None or reopening is None)
        if saves and isinstance(reconstructor, TrackingReconstructor):
            saver = map_saver(config, reconstructor, source, clock, reopening)
            sinks.append(closing.enter_context(contextlib.closing(saver)))
        reconstructor.pictures = config.images
        if isinstance(reconstructor, TrackingReconstructor):
            reconstructor.sensor, reconstructor.gps = sensor, gps
            if depth_images is not None:
                reconstructor.listen_to_depth(depth_images)
            reconstructor.waits, reconstructor.refines = not source.info.is_live, end.refines
            reconstructor.retracks = bool(config.out or recorder or opened.comparison)
            if source.info.is_live and all(source.info.size):
                reconstructor.warm_up(source.info.size)
        yield opened
        if comparison is not None and config.max_frames is None and not stop.is_set():
            comparison.finish()
        _raise_what_ended(failures, recorder)
        if stats.failed and not stats.processed_frames:
            raise StreamError(f"no frame of {source.info.name} could be reconstructed: {stats.last_error}")
    _raise_what_ended(failures, recorder)  # while everything was closed


def _engine_config(config: RunConfig, source: Source, reconstructor: AnyReconstructor, end: RunEnd) -> EngineConfig:
    window = None if config.window == "auto" else int(config.window)
    plan = WindowPlan(1, 1)
    if config.track == "off":
        plan = plan_window(source.info.is_live, window, reconstructor.memory.max_new_frames)
    engine = EngineConfig(plan, max_frames=config.max_frames, adjusts_all=end.adjusts_all)
    if isinstance(reconstructor, TrackingReconstructor):
        engine = replace(engine, queue_frames=1 if config.low_latency and source.info.is_live else TRACKED_QUEUE)
    return engine


def _raise_what_ended(failures: list[StreamError], recorder: Recorder | None) -> None:
    """Raises what a thread died of. A disk that is full ends a recording and not the run: that is no fault of ours."""
    if failures:
        raise failures[0]
    if recorder is not None and recorder.broken and recorder.error is not None:
        raise recorder.error


def _results_stopped(error: OutputError) -> None:
    log.error("results are not written any more, mapping goes on: %s", error)


def _mapper_process() -> MapperProcess:
    from spark3r_stream.engine.mapper_process import MapperProcess

    return MapperProcess()


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()
