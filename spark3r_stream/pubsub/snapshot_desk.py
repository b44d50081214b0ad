"""Where late joiners ask for the map so far: requests that wait, replies that are made for all who ask for the same.

Making a reply takes the time of the publisher's thread, and what nobody reads takes memory: both are bounded, however
often and by however many it is asked.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping
from typing import Any

import zmq

from spark3r_stream.pubsub.limits import TokenBucket
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.wire import envelope as wire

_REQUESTS_PER_TURN = 16
_MAX_WAITING_REQUESTS = 64
_MAX_UNREAD_REPLY_BYTES = 64 * wire.MIB  # of snapshots made and not yet read by who asked
_LOOK_AGAIN_MS = 50
# Making snapshots may take so many seconds at once, and this share of the time for as long as they are asked for.
_REPLY_S, _REPLY_SHARE = 2.0, 0.2


class SnapshotDesk:
    """Requests to a ROUTER socket, answered by the thread that owns it, between two messages.

    keeper: what is asked for; None: requests are taken and forgotten.
    """

    def __init__(self, router: zmq.Socket[bytes], keeper: SnapshotKeeper | None) -> None:
        self._router = router
        self._keeper = keeper
        self._requests: dict[bytes, bytes] = {}  # newest of each peer, oldest peer first
        self._time_s = TokenBucket(_REPLY_S, _REPLY_SHARE, time.monotonic())
        self._unread: list[tuple[Any, int]] = []  # what tells that ZeroMQ has let go of a reply, and its size

    def take_requests(self) -> None:
        """Some requests for the map: the newest of each peer waits, the others are forgotten."""
        with contextlib.suppress(zmq.Again):
            for _ in range(_REQUESTS_PER_TURN):
                peer, *request = self._router.recv_multipart(zmq.NOBLOCK)
                known = peer in self._requests or len(self._requests) < _MAX_WAITING_REQUESTS
                if self._keeper is not None and len(request) == 1 and known:
                    self._requests[peer] = request[0]

    def answer(self, session_id: uuid.UUID, positions: Mapping[str, int]) -> None:
        """One reply per turn at most, for all who ask for the same; beyond two seconds of it, a fifth of the time."""
        if not self._requests or self._keeper is None or self.until_next_ms() != 0:
            return
        began_s = time.monotonic()
        request = next(iter(self._requests.values()))
        reply = self._keeper.reply(request, session_id, dict(positions))
        for peer in [peer for peer, other in self._requests.items() if other == request]:
            del self._requests[peer]
            tracker = self._router.send_multipart([peer, reply], copy=False, track=True)
            self._unread.append((tracker, len(reply)))
        self._time_s.spend(time.monotonic() - began_s)

    def until_next_ms(self) -> int | None:
        """0: now. None: when something comes."""
        if not self._requests:
            return None
        self._unread = [(tracker, size) for tracker, size in self._unread if not tracker.done]
        if sum(size for _, size in self._unread) >= _MAX_UNREAD_REPLY_BYTES:
            return _LOOK_AGAIN_MS
        return int(1000 * self._time_s.wait_s(0.0, time.monotonic()) + 0.999)
