"""`spark3r replay` and `spark3r inspect`: recordings played again, and what is in them."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from pathlib import Path

from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.keys import ServerSecurity
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.replay import Replay, republish
from spark3r_stream.wire.envelope import TOPICS

MAX_TOPICS_TOLD = 40


def replay_command(
    recording: Path,
    publish: str,
    speed: float | None,
    loop: bool,
    start: float,
    insecure: bool,
    security: ServerSecurity | None = None,
) -> int:
    """Republish until the end of the recording, or until it is interrupted; both are exit code 0."""
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
        print(f"replaying {cleaned(recording)} on {publisher.endpoint}", file=sys.stderr)
        sent = republish(replay, publisher, stop)
        if publisher.error is not None:
            raise publisher.error
    print(f"{sent} messages sent", file=sys.stderr)
    return 0


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
