"""/status/ of a run: once a second while it goes on, and how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from spark3r_stream.engine.run_stats import SESSION_STATE, RunStats
from spark3r_stream.engine.sinks import Heartbeat, MessageSink, WireSink
from spark3r_stream.errors import StreamError
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.sources.base import Source
from spark3r_stream.wire.messages import SessionState, Status


class Publishes(MessageSink, Protocol):
    """A publisher, or the way to one. endpoint: where subscribers connect. subscribers: how many there are at least.
    dropped: messages that were lost before any of them."""

    endpoint: str

    @property
    def subscribers(self) -> int: ...

    @property
    def dropped(self) -> int: ...


def status_of(
    stats: RunStats,
    source: Source,
    publisher: Publishes | None,
    recorder: Recorder | None,
    state: SessionState | None = None,
) -> Status:
    """As it is now. state: None: that of the source."""
    return stats.status(
        state or SESSION_STATE[source.state],
        subscribers=0 if publisher is None else publisher.subscribers,
        messages_dropped=0 if publisher is None else publisher.dropped,
        recording_dropped=0 if recorder is None else sum(recorder.dropped.values()),
    )


@contextlib.contextmanager
def heartbeat(
    wires: Sequence[WireSink],
    stats: RunStats,
    source: Source,
    publisher: Publishes | None,
    recorder: Recorder | None,
    on_error: Callable[[StreamError], None],
) -> Iterator[None]:
    """Status once a second while the block runs, and a last one that says how it ended."""

    def beat(state: SessionState | None = None) -> None:
        status = status_of(stats, source, publisher, recorder, state)
        for wire in wires:
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
