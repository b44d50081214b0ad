"""A subscriber's socket: what ZeroMQ holds for it is bounded in bytes, and handshakes are watched while it waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import zmq

from spark3r_stream.errors import WireError
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.handshake import HandshakeMonitor
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.limits import RelayLimits
from spark3r_stream.pubsub.relay import Relay
from spark3r_stream.pubsub.zmtp_frames import FrameCost, part_cost
from spark3r_stream.wire import envelope as wire

_LONGEST_WAIT_S = 1.0  # at a time: a relay that dies before anything is connected wakes nobody
_MOST_PARTS = 4  # that are kept: one more than is right is enough to know


class SubscriberSocket:
    """SUB, connected to `endpoint` through a relay (relay.py, a thread).

    topics: prefixes that are subscribed to from the start. high_water_mark: messages that ZeroMQ keeps.
    max_waiting_bytes: what may wait in it, in the measure of zmtp_frames.py; beyond, the publisher is not read from.
    """

    def __init__(
        self,
        endpoint: str,
        topics: Sequence[str],
        security: ClientSecurity | None,
        high_water_mark: int,
        max_waiting_bytes: int,
    ) -> None:
        self._endpoint = endpoint
        self._encrypted = security is not None
        dial = endpoints.dialer(endpoint)
        self._closing = contextlib.ExitStack()
        folder = self._closing.enter_context(endpoints.private_folder())
        limits = RelayLimits(connections=2, download_bytes=max_waiting_bytes, cost=FrameCost, redial=True)
        self.relay = Relay(endpoints.listen(f"ipc://{folder}/stream")[0], dial, limits, "subscriber-relay")
        self._closing.callback(self.relay.close)
        self.context = zmq.Context()
        self._closing.callback(self.context.destroy, linger=0)
        self.socket = self.context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.RCVHWM, high_water_mark)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_PART_BYTES)  # checked before memory is allocated
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)
        for topic in topics:
            self.socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        if security is not None:
            security.protect(self.socket)
        self._handshakes = HandshakeMonitor(self.socket, endpoint, security)
        self._poller = zmq.Poller()
        self._poller.register(self.socket, zmq.POLLIN)
        self._poller.register(self._handshakes.socket, zmq.POLLIN)
        self.socket.connect(f"ipc://{folder}/stream")

    def wait_readable(self, deadline_s: float | None) -> bool:
        """Wait for a message until `deadline_s` (None: for ever); events of the connection are handled meanwhile.

        Raises AuthError when the publisher refused this client or is not the one it trusts, WireError when the relay
        has died.
        """
        while True:
            self._handshakes.check()
            if self.relay.error is not None:
                cause = f"{type(self.relay.error).__name__}: {self.relay.error}"
                raise WireError(f"receiving from {self._endpoint} broke off: {cause}; this is a fault of the program")
            left_s = _LONGEST_WAIT_S if deadline_s is None else deadline_s - time.monotonic()
            ready = dict(self._poller.poll(int(1000 * min(max(0.0, left_s), _LONGEST_WAIT_S) + 0.999)))
            if self._handshakes.socket in ready:
                self._handshakes.read()
            if self.socket in ready:
                return True
            if not ready:
                self.relay.hang_up_if_stuck()
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False

    async def wait_readable_async(self, timeout_s: float) -> None:
        """Let the event loop go on until there is something for `wait_readable`, or for `timeout_s`; at most a second,
        so that what `wait_readable` looks after is looked after."""
        from zmq.asyncio import Poller

        poller = Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self._handshakes.socket, zmq.POLLIN)
        await poller.poll(int(1000 * min(max(0.0, timeout_s), _LONGEST_WAIT_S) + 0.999))

    def receive(self) -> list[bytes]:
        """The parts of the next message; what is beyond those that a message has is dropped."""
        parts = [self.socket.recv()]
        cost = part_cost(len(parts[0]), self._encrypted)
        while self.socket.getsockopt(zmq.RCVMORE):
            part = self.socket.recv()
            cost += part_cost(len(part), self._encrypted)
            if len(parts) < _MOST_PARTS:
                parts.append(part)
        self.relay.taken(cost)
        return parts

    def close(self) -> None:
        """Further calls do nothing."""
        self._handshakes.close()
        self._closing.close()
