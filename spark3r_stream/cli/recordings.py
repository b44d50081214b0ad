"""`spark3r replay` and `spark3r inspect`: recordings played again, and what is in them."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from spark3r_stream.cli.pausing import PausedByLines
from spark3r_stream.config import ConfigError
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.keys import ServerSecurity
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.replay import Replay, republish
from spark3r_stream.wire.envelope import TOPICS

log = logging.getLogger(__name__)

MAX_TOPICS_TOLD = 40
SUBSCRIBERS_POLL_S = 0.05


def replay_command(
    recording: Path,
    publish: str,
    speed: float | None,
    loop: bool,
    start: float,
    wait_subscribers: int,
    start_paused: bool,
    insecure: bool,
    security: ServerSecurity | None = None,
) -> int:
    """Republish until the end of the recording, or until it is interrupted; both are exit code 0."""
    if wait_subscribers < 0:
        raise ConfigError(f"--wait-subscribers is {wait_subscribers}; expected 0 or more")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with (
        contextlib.closing(Replay(recording, speed=speed, loop=loop, start_s=start)) as replay,
        Publisher(
            publish,
            replay.session_id,
            insecure=insecure,
            security=security,
            snapshot=SnapshotKeeper(),
            on_error=lambda _: stop.set(),
        ) as publisher,
    ):
        log.info("replaying %s on %s", recording, publisher.endpoint)
        if wait_subscribers > 0:
            log.info("waiting for %d subscribers", wait_subscribers)
            replay.pause()
            while publisher.subscribers < wait_subscribers and not stop.wait(SUBSCRIBERS_POLL_S):
                pass
        sent = republish(replay, publisher, stop, is_paused=_paused_by_lines() if start_paused else lambda: False)
        if publisher.error is not None:
            raise publisher.error
    log.info("%d messages sent", sent)
    return 0


def _paused_by_lines() -> Callable[[], bool]:
    """For `republish`; raises ConfigError where it would wait for ever."""
    lines = PausedByLines(sys.stdin)
    log.info("paused; Enter lets it begin, and holds it again")

    def is_paused() -> bool:
        if lines.is_stuck:
            raise ConfigError(
                "--start-paused waits for a line (Enter) on standard input, and that is at its end; run it in a"
                " terminal or keep a pipe open"
            )
        return lines.paused.is_set()

    return is_paused


def inspect_command(recording: Path, as_json: bool) -> int:
    """0 for a whole recording, 1 for one that was cut or lost something (what is there was read all the same)."""
    info = Recording(recording).info()
    whole = info.complete and not info.missed and not info.dropped
    if as_json:
        print(json.dumps({**vars(info), "path": str(info.path), "duration_s": info.duration_s}))
        return 0 if whole else 1
    print(f"{cleaned(info.path)}: {info.size_bytes / 2**20:.1f} MiB, {info.duration_s:.1f} s")
    print("complete" if info.complete else f"not complete: {cleaned(info.cut) or 'it was not closed'}")
    topics = sorted(info.counts.items(), key=lambda item: (item[0] not in TOPICS, item[0]))
    for topic, count in topics[:MAX_TOPICS_TOLD]:
        lost = info.missed.get(topic, 0)
        print(f"  {cleaned(topic):<20} {count:>8} messages" + (f", {lost} missing" if lost else ""))
    if len(topics) > MAX_TOPICS_TOLD:
        print(f"  … and {len(topics) - MAX_TOPICS_TOLD} more topics")
    for key, value in sorted(info.metadata.items()):
        print(f"  {cleaned(key)}: {cleaned(value)}")
    return 0 if whole else 1
