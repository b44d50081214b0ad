"""`spark3r run`: build every part from the settings, run the engine, close everything whatever happens."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from spark3r_core.geometry.camera import Intrinsics, read_intrinsics
from spark3r_core.user_paths import expand_home
from spark3r_stream.cli.keys import server_security
from spark3r_stream.cli.progress import LiveLine
from spark3r_stream.cli.report import run_report, settings_of, summary
from spark3r_stream.cli.rerun import (
    check_weights,
    notes_of,
    recorded_camera,
    recorded_config,
    recorded_end,
    recorded_new_frames,
    recorded_threads,
    run_metadata,
)
from spark3r_stream.cli.stop import Interrupted, Stop
from spark3r_stream.cli.targets import check_targets
from spark3r_stream.clock import Clock, SystemClock
from spark3r_stream.config import ConfigError, RunConfig, parse_bytes
from spark3r_stream.engine.files_sink import FilesSink
from spark3r_stream.engine.loop import AnyReconstructor, EngineConfig, Sink, run_stream
from spark3r_stream.engine.reconstructor import Reconstructor
from spark3r_stream.engine.run_stats import SESSION_STATE, RunStats
from spark3r_stream.engine.scheduler import WindowPlan, most_new_frames, plan_window
from spark3r_stream.engine.sinks import ComparisonSink, DecisionsSink, Heartbeat, JsonSink, MessageSink, WireSink
from spark3r_stream.engine.steady import keep_freed_memory, long_lived_objects
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import OutputError, RecordingError, StreamError
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.plain_text import cleaned, unicode_text
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.recording.comparison import Comparison
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.open import is_recording, is_surely_a_file, open_source
from spark3r_stream.sources.options import Pace, ReconnectOptions, RtspTransport, SourceOptions
from spark3r_stream.sources.redact import redact_uri
from spark3r_stream.viewer.launch import launch_viewer
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import CapturedClock, SessionState

NOTHING_KEPT = "spark3r: note: results are shown and not kept; --out, --publish, --record, --view or --json keeps them"


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
    if config.track == "on" and "torch" not in sys.modules:  # one core is the tracker's; a user's own setting stands
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))
    clock = SystemClock()
    run = RecordedRun.load(expand_home(config.source)) if is_recording(config.source) else None
    if run is not None:
        config = recorded_config(config, run)
    with stop.on_signals(), contextlib.ExitStack() as closing:  # a signal does not cut short the writing of results
        # What can fail at once comes first: a port in use must not cost the loading of a model.
        session_id = uuid.uuid4()
        failures: list[StreamError] = []  # of threads that died; the run ends as failed

        def publishing_ended(error: StreamError) -> None:
            failures.append(error)
            print(f"spark3r: {cleaned(error)}", file=sys.stderr)
            stop.event.set()  # nobody sees this run any more: whoever supervises it starts another

        publisher = _open_publisher(config, session_id, closing, publishing_ended)
        if run is not None:
            closing.enter_context(recorded_threads(run))
        with stop.interrupting():
            recorded = () if run is None else (recorded_camera(run), recorded_new_frames(run))
            reconstructor = build_reconstructor(config, *recorded)
        if run is not None:
            check_weights(run, reconstructor)
        adjusts_all = _is_file(config) if run is None else recorded_end(run)
        recorder = _open_recorder(config, reconstructor, clock, closing, adjusts_all)
        with stop.interrupting():
            source = closing.enter_context(contextlib.closing(_open_source(config, run, recorder, clock)))
        for note in source.info.notes:
            print(f"spark3r: note: {cleaned(note)}", file=sys.stderr)
        stats = RunStats(clock, source.info.name, config.model)
        sinks: list[Sink] = []
        targets: list[MessageSink] = [target for target in (publisher, recorder) if target is not None]
        if not targets and run is None and config.out is None and not config.json:
            print(NOTHING_KEPT, file=sys.stderr)
        if targets:
            captured_clock = CapturedClock.UNIX if source.info.captured_is_unix else CapturedClock.SOURCE
            sealer = Sealer(session_id, clock.unix_ns, captured_clock, replay=run is not None)
            wire = WireSink(sealer, targets)
            sinks.append(wire)
            closing.enter_context(_heartbeat(wire, stats, source, publisher, recorder, clock))
        if recorder is not None:
            sinks.append(DecisionsSink(recorder, clock, _torch_threads()))
        comparison = None
        if run is not None:
            comparison = Comparison(run.path)
            sinks.append(ComparisonSink(comparison))
        if config.out is not None:
            writer = ResultWriter(config.out, config.max_points, config.save_depth, source.info.has_own_times)
            goes_on = source.info.is_live and (bool(targets) or config.json)  # there is more than the files to run for
            files = FilesSink(writer, lossless=not source.info.is_live, on_error=_results_stopped if goes_on else None)
            sinks.append(files)
            truth = _ground_truth(source)
            closing.callback(
                lambda: writer.close(run_report(config, stats, source, reconstructor, comparison, files.counts), truth)
            )
            closing.callback(files.close)  # runs first: what waits is written before the files are closed
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
        engine = EngineConfig(plan, max_frames=config.max_frames, adjusts_all=adjusts_all)
        if isinstance(reconstructor, TrackingReconstructor):
            engine = replace(engine, queue_frames=TRACKED_QUEUE)
            reconstructor.waits = not source.info.is_live
            if source.info.is_live:
                reconstructor.warm_up(source.info.size)
        decided = None if run is None else run.decisions
        try:
            with long_lived_objects():
                run_stream(source, reconstructor, sinks, engine, stats, clock, stop.event, decided)
        finally:
            stats.finish()
        if comparison is not None and run is not None and config.max_frames is None and not stop.event.is_set():
            comparison.finish(max(run.frame_ids) if run.cut else None)
        if recorder is not None and recorder.broken and recorder.error is not None:
            failures.append(recorder.error)
        if failures:
            raise failures[0]
        if stats.failed and not stats.processed_frames:
            raise StreamError(f"no frame of {source.info.name} could be reconstructed: {stats.last_error}")
    if not config.json:
        print(cleaned(summary(config, stats)), file=sys.stderr)
    if comparison is not None and not (config.json and comparison.is_repeated):
        print(cleaned(comparison.summary()), file=sys.stderr)
    code = stop.exit_code(source.info.is_live)
    return code or int(comparison is not None and not comparison.is_repeated)


def _results_stopped(error: OutputError) -> None:
    print(f"spark3r: results are not written any more, mapping goes on: {cleaned(error)}", file=sys.stderr)


def build_reconstructor(
    config: RunConfig, camera: Intrinsics | None = None, max_new_frames: int | None = None
) -> Reconstructor | TrackingReconstructor:
    """Model, memory and camera from the settings. Imports torch.

    camera: instead of the file of the settings. max_new_frames: instead of what the window rule gives for the source.
    """
    from spark3r_core.models.registry import load_model
    from spark3r_core.stream.session import MemoryConfig

    device = _device(config.device)
    if camera is None and config.intrinsics is not None:
        camera = read_intrinsics(config.intrinsics)
    if max_new_frames is None:
        max_new_frames = most_new_frames(None if config.window == "auto" else int(config.window), _is_file(config))
    memory = MemoryConfig(
        max_bytes=None if config.memory is None else parse_bytes(config.memory),
        fill=config.fill,
        eviction=config.eviction,
        max_new_frames=max_new_frames,
    )
    model = load_model(config.model, device=device, dtype=_dtype(config.dtype, device), weights=config.weights)
    if config.track == "on":
        memory = replace(memory, max_new_frames=1)
        return TrackingReconstructor(model, memory, config.size, camera, closes_loops=config.loops == "on")
    refine = None if config.refine == "auto" else config.refine == "on"
    return Reconstructor(model, memory, config.size, camera, refine=refine)


# Frames that may wait for the tracker: as many as come while the first keyframe is mapped, before anything is tracked.
# More would be a lag that a machine which is too slow never makes good.
TRACKED_QUEUE = 10


def _is_file(config: RunConfig) -> bool:
    """Whether the source is certain to wait for its reader, before it is open."""
    return config.pace == "fast" and not config.live and is_surely_a_file(config.source)


def _device(name: str) -> str:
    """torch's name of the device; ConfigError, before anything is loaded, for one that this machine cannot use."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name} cannot be used: {reason}; cpu works everywhere") from None
    return name


def _dtype(name: str, device: str) -> Any:
    import torch

    from spark3r_core.models.processor import cpu_has_bfloat16

    if name != "auto":
        return getattr(torch, name)
    if device != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32


def _open_source(config: RunConfig, run: RecordedRun | None, recorder: Recorder | None, clock: Clock) -> Source:
    on_packet = None if recorder is None else recorder.packet
    if run is not None:
        from spark3r_stream.sources.recording import RecordingSource

        return RecordingSource(run, on_packet, notes_of(run))
    options = SourceOptions(
        pace=Pace(config.pace),
        live=config.live or None,
        images_fps=config.fps,
        on_packet=on_packet,
        single_thread_decode=recorder is not None,  # what can be decoded again to the same bytes, however damaged
        rtsp_transport=RtspTransport(config.rtsp_transport),
        reconnect=ReconnectOptions(max_restarts=config.max_restarts),
    )
    return open_source(config.source, options, clock)


def _open_publisher(
    config: RunConfig,
    session_id: uuid.UUID,
    closing: contextlib.ExitStack,
    on_error: Callable[[StreamError], None],
) -> Publisher | None:
    endpoint = config.publish or ("tcp://127.0.0.1:*" if config.view else None)
    if endpoint is None:
        return None
    security = server_security(config.keys)
    publisher = closing.enter_context(
        Publisher(
            endpoint,
            session_id,
            insecure=config.insecure,
            security=security,
            snapshot=SnapshotKeeper(),
            on_error=on_error,
        )
    )
    print(f"publishing on {publisher.endpoint}", file=sys.stderr)
    return publisher


def _ground_truth(source: Source) -> Trajectory | None:
    """The exact path of a synthetic source, for the preview."""
    truth = getattr(source, "ground_truth", None)
    return None if truth is None else Trajectory(truth.pts_ns, truth.world_from_camera)


def _open_recorder(
    config: RunConfig,
    reconstructor: AnyReconstructor,
    clock: Clock,
    closing: contextlib.ExitStack,
    adjusts_all: bool,
) -> Recorder | None:
    if config.record is None:
        return None
    metadata = run_metadata(settings_of(config), reconstructor, adjusts_all)

    def report(error: RecordingError) -> None:
        print(f"spark3r: recording stopped, mapping goes on: {cleaned(error)}", file=sys.stderr)

    source_id = unicode_text(redact_uri(config.source))
    return closing.enter_context(
        Recorder(config.record, metadata, clock, source_id=source_id, overwrite=config.overwrite, on_error=report)
    )


@contextlib.contextmanager
def _heartbeat(
    wire: WireSink,
    stats: RunStats,
    source: Source,
    publisher: Publisher | None,
    recorder: Recorder | None,
    clock: Clock,
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

    beat()
    try:
        with Heartbeat(beat):
            yield
    except BaseException as error:
        stats.last_error = str(error) or type(error).__name__
        beat(SessionState.FAILED)
        raise
    beat(SessionState.ENDED)


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()
