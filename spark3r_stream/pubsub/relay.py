"""A relay between a socket of ZeroMQ and its peers that bounds what they may send, without a look at the content.

ZeroMQ takes in whatever a peer sends as fast as it comes: a publisher's socket reads and stores every subscription
before it publishes the next message, each in a tree of some 40 bytes per byte, and a message of endless parts grows in
memory until it ends. No option of a socket bounds that, and nothing behind the socket sees it in time. So ZeroMQ's
sockets listen or connect in a private folder, and this stands between them and the network:

* for a publisher, a peer that sends more than subscriptions and heartbeats can need is hung up on (`UploadLimit`),
  and connections are bounded in number and in how fast they come;
* for a subscriber, what ZeroMQ holds and the caller has not taken yet is bounded (`download_bytes`): beyond that the
  publisher is not read from, so that it drops messages for this subscriber, as it does for one that is slow.

Encrypted bytes pass as they are: whoever holds a key is bounded like anyone else.

As a process of its own (relay_process.py, relay_program.py) it relays for a publisher; for that it imports nothing but
Python's own modules.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable

from spark3r_stream.pubsub.limits import RelayLimits, TokenBucket
from spark3r_stream.pubsub.relay_link import Link

_CHUNK_BYTES = 256 * 1024  # read from one connection in one turn; then it is the next one's
_ACCEPTS_PER_TURN = 8
_LONGEST_PAUSE_S = 2.0  # between two attempts to reach the other side
_STUCK_S = 1.0
_IDLE_TURN_S = 1.0
_HEARTBEAT_BYTES_PER_S = 64  # what a well-behaved peer sends for as long as it stays
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Relay:
    """Accepts on `listener` and connects each connection to what `dial` returns (a socket that is connecting).

    The thread starts at once. End of life: `close`. `refused` counts peers that were hung up on for what they sent.
    `error` is what the thread died of, if it did; all connections are closed then.
    """

    def __init__(
        self, listener: socket.socket, dial: Callable[[], socket.socket], limits: RelayLimits, name: str
    ) -> None:
        self.refused = 0
        self.error: Exception | None = None
        self._listener = listener
        self._dial = dial
        self._limits = limits
        self._links: list[Link] = []
        self._lock = threading.Lock()  # of what other threads change
        self._taken = 0
        self._hang_up = ""
        self._linger_until_s: float | None = None
        self._accepts = TokenBucket(limits.connections, limits.connections_per_s, time.monotonic())
        self._look_at_s = 0.0  # when the links are to be looked after next, whatever happens on them
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        for sock in (listener, self._wake_receiver, self._wake_sender):
            sock.setblocking(False)
        self._selector.register(self._wake_receiver, _READ)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended, after waiting for that."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def taken(self, cost: int) -> None:
        """The caller has taken messages of this cost: as much more may come."""
        with self._lock:
            self._taken += cost
        if any(link.full_since_s is not None for link in tuple(self._links)):
            self._wake()

    def hang_up_on_the_busiest(self) -> None:
        """Close the connection that has sent the most beyond heartbeats."""
        self._ask("busiest")

    def hang_up_if_stuck(self) -> None:
        """Close a connection whose bound is exhausted though the caller has nothing to take: an endless message."""
        if any(link.full_since_s is not None for link in tuple(self._links)):
            self._ask("stuck")

    def close(self, linger_s: float = 0.0) -> None:
        """Accept nobody any more, pass on for `linger_s` what is on its way, and end. Further calls do nothing."""
        if self._wake_sender.fileno() == -1:
            return
        self._linger_until_s = time.monotonic() + linger_s
        self._wake()
        self._thread.join()
        self._wake_sender.close()

    def _ask(self, what: str) -> None:
        with self._lock:
            self._hang_up = what
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody is there
            self._wake_sender.send(b"\0")

    def _run(self) -> None:
        try:
            while self._linger_until_s is None or (self._links and time.monotonic() < self._linger_until_s):
                self._turn()
        except Exception as error:  # whatever it is, who relies on this must not wait for ever
            self.error = error
        finally:
            for link in tuple(self._links):
                self._close(link)
            self._listener.close()
            self._selector.close()
            self._wake_receiver.close()

    def _turn(self) -> None:
        """Wait for something to do, and do a bounded amount of it for each connection."""
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + self._look_after_links(now_s)
        for key, mask in self._selector.select(max(0.0, self._look_at_s - now_s)):
            if key.fileobj is self._wake_receiver:
                self._wake_receiver.recv(4096)
                self._look_at_s = 0.0
            elif key.fileobj is self._listener:
                self._accept()
            elif key.data.open:
                self._serve(key.data, key.fileobj, mask)

    def _look_after_links(self, now_s: float) -> float:
        """Whatever depends on time or on other threads; returns for how long there is nothing of it to do."""
        with self._lock:
            taken, self._taken = self._taken, 0
            hang_up, self._hang_up = self._hang_up, ""
        if hang_up == "busiest" and self._links:
            self._refuse(max(self._links, key=lambda k: k.uploaded - _HEARTBEAT_BYTES_PER_S * (now_s - k.opened_s)))
        due_s = now_s + _IDLE_TURN_S if self._linger_until_s is None else self._linger_until_s
        for link in tuple(self._links):
            link.waiting_cost = max(0, link.waiting_cost - taken)
            self._note_full(link, now_s)  # before anything is called stuck: room may have been made since
            stalled = bool(link.to_near) and now_s - link.moved_s > self._limits.stall_s
            stuck = hang_up == "stuck" and link.full_since_s is not None and now_s - link.full_since_s >= _STUCK_S
            if stuck or stalled or now_s >= min(link.close_at_s, link.opened_s + self._limits.age_s):
                self._close(link)
                continue
            if link.far is None and now_s >= link.dial_at_s:
                self._reach(link, now_s)
            self._watch(link, now_s)
            due_s = min(due_s, link.close_at_s, math.inf if link.far is not None else link.dial_at_s)
        return max(0.0, min(due_s, self._admit(now_s)) - now_s)

    def _admit(self, now_s: float) -> float:
        """Watch for new connections if another one may come; otherwise, when the next one may."""
        if self._linger_until_s is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._listener)
                self._listener.close()
            return math.inf
        wait_s = self._accepts.wait_s(1.0, now_s)
        may = wait_s == 0.0 and len(self._links) < self._limits.connections
        self._set_interest(self._listener, _READ if may else 0, None)
        return math.inf if wait_s == 0.0 else now_s + wait_s

    def _accept(self) -> None:
        self._look_at_s = 0.0  # whether more may come
        for _ in range(_ACCEPTS_PER_TURN):
            now_s = time.monotonic()
            if self._accepts.level(now_s) < 1.0 or len(self._links) >= self._limits.connections:
                return
            try:
                near, _ = self._listener.accept()
            except OSError:  # nobody any more, or gone again
                return
            self._accepts.spend(1.0)
            _prepare(near)
            link = Link(near, now_s, None if self._limits.cost is None else self._limits.cost())
            self._links.append(link)
            self._reach(link, now_s)
            self._watch(link, now_s)

    def _reach(self, link: Link, now_s: float) -> None:
        """Begin to connect to the other side."""
        try:
            link.far = self._dial()
        except OSError:
            self._unreachable(link, now_s)

    def _unreachable(self, link: Link, now_s: float) -> None:
        if link.far is not None:
            self._set_interest(link.far, 0, link)
            link.far.close()
            link.far = None
        if not self._limits.redial:
            self._close(link)
            return
        link.dial_at_s = now_s + link.pause_s
        link.pause_s = min(_LONGEST_PAUSE_S, 2 * link.pause_s)

    def _serve(self, link: Link, sock: object, mask: int) -> None:
        now_s = time.monotonic()
        try:
            if sock is link.near:
                if mask & _WRITE:
                    link.send_near(now_s)
                if mask & _READ:
                    self._read_near(link, now_s)
            elif not link.reached:
                self._check_reached(link, now_s)
            else:
                if mask & _WRITE:
                    link.send_far()
                if mask & _READ:
                    link.read_far(self._buffer, now_s)
        except BlockingIOError:
            pass
        except OSError:
            self._close(link)
        except ValueError:  # not a peer that can be counted
            self._refuse(link)
        if link.open:
            self._watch(link, now_s)

    def _check_reached(self, link: Link, now_s: float) -> None:
        assert link.far is not None
        if link.far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._unreachable(link, now_s)
        else:
            link.reached = True

    def _read_near(self, link: Link, now_s: float) -> None:
        chunk = link.receive_near(self._buffer)
        limit = self._limits.upload
        if limit is not None and link.uploaded > limit.burst_bytes + limit.bytes_per_s * (now_s - link.opened_s):
            self._refuse(link)
        else:
            link.pass_on(chunk)

    def _watch(self, link: Link, now_s: float) -> None:
        """Wait for what can be done next with each side; a side that cannot take more stops the other one."""
        if not link.open:
            return
        full = self._note_full(link, now_s)
        near = (_WRITE if link.to_near else 0) | (0 if link.to_far else _READ)
        self._set_interest(link.near, near, link)
        if link.far is not None:
            idle = link.ended or full or bool(link.to_near)
            far = ((0 if idle else _READ) | (_WRITE if link.to_far else 0)) if link.reached else _WRITE
            self._set_interest(link.far, far, link)

    def _note_full(self, link: Link, now_s: float) -> bool:
        """Whether this connection may bring nothing more until messages are taken."""
        limit = self._limits.download_bytes
        full = limit is not None and link.waiting_cost >= limit
        if full and link.full_since_s is None:
            link.full_since_s = now_s
            with self._lock:  # `taken` wakes only who is full already: look for what came just before
                if self._taken:
                    self._look_at_s = 0.0
        elif not full:
            link.full_since_s = None
        return full

    def _set_interest(self, sock: socket.socket, events: int, link: Link | None) -> None:
        known = self._selector.get_map().get(sock)
        if known is None:
            if events:
                self._selector.register(sock, events, link)
        elif not events:
            self._selector.unregister(sock)
        elif known.events != events:
            self._selector.modify(sock, events, link)

    def _refuse(self, link: Link) -> None:
        self.refused += 1
        self._close(link)

    def _close(self, link: Link) -> None:
        if link.open:
            link.open = False
            self._links.remove(link)
            self._look_at_s = 0.0  # another one may come now
            for sock in (link.near, link.far):
                if sock is not None:
                    self._set_interest(sock, 0, link)
                    sock.close()


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
