"""One connection through a relay (relay.py): the bytes on their way between its two ends, and what they may cost.

Imports nothing but Python's own modules, since a publisher's relay is a process that has no others.
"""

from __future__ import annotations

import math
import socket
from typing import Protocol

_GOODBYE_S = 1.0  # for a peer to close its side after all was sent
FIRST_PAUSE_S = 0.1  # between two attempts to reach the other side


class Cost(Protocol):
    """Adds up what the bytes of one direction of a connection cost the one who takes them in."""

    def add(self, chunk: memoryview) -> int:
        """The cost of the next bytes. Raises ValueError for what cannot be counted."""
        ...


class Link:
    """One accepted connection (`near`), the one made for it (`far`), and the bytes on their way.

    Its methods move what can be moved without waiting. They raise BlockingIOError when that is nothing, OSError when
    the connection has ended, ValueError for a peer whose bytes cannot be counted.
    """

    def __init__(self, near: socket.socket, now_s: float, cost: Cost | None) -> None:
        self.near = near
        self.far: socket.socket | None = None
        self.reached = False
        self.opened_s = now_s
        self.to_far: memoryview = memoryview(b"")
        self.to_near: memoryview = memoryview(b"")
        self.moved_s = now_s  # when bytes last left for `near`
        self.uploaded = 0
        self.cost = cost
        self.waiting_cost = 0
        self.full_since_s: float | None = None
        self.ended = False  # the far side has closed: what waits is sent, then this one is closed
        self.deaf = False  # the far side takes nothing any more: what `near` sends is forgotten
        self.close_at_s = math.inf
        self.dial_at_s = now_s
        self.pause_s = FIRST_PAUSE_S
        self.open = True

    def receive_near(self, buffer: memoryview) -> memoryview:
        """What the accepted peer has sent, counted; `pass_on` takes it from there."""
        count = self.near.recv_into(buffer)
        if count == 0:
            raise ConnectionAbortedError("closed by the peer")
        self.uploaded += count
        return buffer[:count]

    def pass_on(self, chunk: memoryview) -> None:
        """To the far side, as soon as that is reached."""
        if not self.deaf:
            self.to_far = memoryview(bytes(chunk))
            if self.reached:
                self.send_far()

    def read_far(self, buffer: memoryview, now_s: float) -> None:
        """Take some of what the far side sends, and send it on."""
        assert self.far is not None
        try:
            count = self.far.recv_into(buffer)
        except ConnectionError:
            count = 0
        if count == 0:
            self.ended = self.deaf = True
            self.to_far = memoryview(b"")
            if not self.to_near:
                self._say_goodbye(now_s)
            return
        chunk = buffer[:count]
        if self.cost is not None:
            self.waiting_cost += self.cost.add(chunk)
        try:
            sent = self.near.send(chunk)
            self.moved_s = now_s
        except BlockingIOError:
            sent = 0
        if sent < count:
            self.to_near = memoryview(bytes(chunk[sent:]))

    def send_near(self, now_s: float) -> None:
        self.to_near = self.to_near[self.near.send(self.to_near) :]
        self.moved_s = now_s
        if self.ended and not self.to_near:
            self._say_goodbye(now_s)

    def send_far(self) -> None:
        assert self.far is not None
        try:
            self.to_far = self.to_far[self.far.send(self.to_far) :]
        except BlockingIOError:
            return
        except OSError:  # it has closed; what it had sent before is still to be read
            self.deaf, self.to_far = True, memoryview(b"")

    def _say_goodbye(self, now_s: float) -> None:
        """All was passed on. Closing before the peer does could take back what it has not read yet."""
        self.near.shutdown(socket.SHUT_WR)
        self.close_at_s = now_s + _GOODBYE_S
