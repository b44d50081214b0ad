"""What subscribers have subscribed to, counted: only prefixes of what is published, or a stranger could fill it up."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from spark3r_stream.wire import envelope as wire

MAX_READY_TOPIC_BYTES = 64


class Subscriptions:
    """Counts of subscriptions by prefix. Safe for several threads. cameras: whose topics are published; none where
    there is only one."""

    def __init__(self, cameras: Sequence[str] = ()) -> None:
        self._known: tuple[str, ...] = (*wire.TOPICS, wire.WELCOME)
        for camera in cameras:
            self.add(camera)
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, camera: str) -> None:
        """Its topics are published from now on, too."""
        self._known = (*self._known, *(wire.full_topic(topic, camera) for topic in wire.TOPICS))

    def take(self, parts: list[bytes]) -> bytes | None:
        """What an XPUB socket received. Returns the topic `/ready/<nonce>/` if that is to be answered.

        Anything else that a subscriber sends is ignored.
        """
        if len(parts) != 1 or parts[0][:1] not in (b"\0", b"\1"):
            return None
        subscribed, topic = parts[0][:1] == b"\1", parts[0][1:]
        if topic.startswith(wire.READY.encode()):
            return topic if subscribed and len(topic) <= MAX_READY_TOPIC_BYTES else None
        prefix = topic[:MAX_READY_TOPIC_BYTES].decode("ascii", "replace")
        if any(known.startswith(prefix) for known in self._known):
            with self._lock:
                count = self._counts.get(prefix, 0) + (1 if subscribed else -1)
                self._counts[prefix] = max(0, count)
        return None

    @property
    def most(self) -> int:
        """Subscriptions to the prefix that has the most: so many subscribers there are at least."""
        with self._lock:
            return max(self._counts.values(), default=0)

    def has(self, topic: str) -> bool:
        """Whether anyone is subscribed to this topic."""
        with self._lock:
            return any(topic.startswith(prefix) for prefix, count in self._counts.items() if count)
