"""What a run reads and where it sends: source, publisher and recorder, opened from the settings."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from spark3r_stream.clock import Clock
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.engine.loop import AnyReconstructor
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.engine.thinning import ThinningOptions
from spark3r_stream.errors import RecordingError, StreamError
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.plain_text import unicode_text
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.running.report import settings_of
from spark3r_stream.running.rerun import RunEnd, notes_of, run_metadata
from spark3r_stream.running.security import server_security
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.counted_on import CountedOn
from spark3r_stream.sources.open import open_source
from spark3r_stream.sources.options import Pace, ReconnectOptions, RtspTransport, SourceOptions
from spark3r_stream.sources.redact import redact_uri
from spark3r_stream.wire.envelope import TOPICS

if TYPE_CHECKING:
    from spark3r_stream.metrics.server import MetricsServer

log = logging.getLogger(__name__)


def open_run_source(
    config: RunConfig,
    run: RecordedRun | None,
    recorder: Recorder | None,
    clock: Clock,
    reopening: Reopening | None = None,
    resumption: Resumption | None = None,
) -> Source:
    """run: the recorded run to be made again, instead of what the settings name. recorder: gets the input. reopening:
    a saved map whose frames are counted on. resumption: a run of this session, whose frames are."""
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
    source = open_source(config.source, options, clock)
    first_id = 0 if reopening is None else reopening.next_frame_id
    if resumption is not None:
        return CountedOn(source, max(first_id, resumption.next_frame_id), resumption.next_epoch)
    return source if reopening is None else CountedOn(source, first_id)


def open_publisher(
    config: RunConfig,
    session_id: uuid.UUID,
    closing: contextlib.ExitStack,
    on_error: Callable[[StreamError], None],
    cameras: Sequence[str] = (),
) -> Publisher | None:
    """Where --publish says, or for --view where nobody else is; closed with `closing`. on_error, cameras: see
    `Publisher`."""
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
            cameras=cameras,
            snapshot=SnapshotKeeper(),
            on_error=on_error,
        )
    )
    log.info("publishing on %s", publisher.endpoint)
    return publisher


def open_metrics(config: RunConfig, closing: contextlib.ExitStack) -> MetricsServer | None:
    """The page of --metrics, closed with `closing`; it answers once it is told what to say. Needs the extra."""
    if config.metrics is None:
        return None
    from spark3r_stream.metrics.server import MetricsServer, metrics_address

    server = MetricsServer(metrics_address(config.metrics, insecure=config.insecure))
    closing.callback(server.close)
    log.info("metrics on %s", server.url)
    return server


def thinning_options(config: RunConfig) -> ThinningOptions:
    """What of the run is not published. Raises ConfigError for a topic that does not exist."""
    topics = None
    if config.topics is not None:
        topics = frozenset(f"/{name.strip().strip('/')}/" for name in config.topics.split(","))
        if unknown := sorted(topics - set(TOPICS)):
            known = ", ".join(topic.strip("/") for topic in TOPICS)
            raise ConfigError(f"--topics has {unknown[0].strip('/')!r}; expected some of {known}, with commas between")
    return ThinningOptions(topics, config.rate, config.depth_every, config.cloud_voxel)


def ground_truth(source: Source) -> Trajectory | None:
    """The exact path of a synthetic source, for the preview."""
    truth = getattr(source, "ground_truth", None)
    return None if truth is None else Trajectory(truth.pts_ns, truth.world_from_camera)


def open_recorder(
    config: RunConfig,
    reconstructor: AnyReconstructor,
    clock: Clock,
    closing: contextlib.ExitStack,
    end: RunEnd,
    reopening: Reopening | None = None,
) -> Recorder | None:
    """The file of --record, closed with `closing`; an error in it is said and does not end the run."""
    if config.record is None:
        return None
    metadata = run_metadata(settings_of(config), reconstructor, end, reopening)

    def report(error: RecordingError) -> None:
        log.error("recording stopped, mapping goes on: %s", error)

    source_id = unicode_text(redact_uri(config.source))
    return closing.enter_context(
        Recorder(
            config.record,
            metadata,
            clock,
            source_id=source_id,
            only_input=config.record_only == "input",
            overwrite=config.overwrite,
            on_error=report,
        )
    )
