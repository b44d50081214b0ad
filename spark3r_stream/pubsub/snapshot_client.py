"""The asking side of a snapshot: one request on a socket of its own, while the stream goes on being received."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import zmq

from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.handshake import HandshakeMonitor
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.limits import RelayLimits
from spark3r_stream.pubsub.relay import Relay
from spark3r_stream.pubsub.snapshot import MAX_REPLY_BYTES, Snapshot, parse_reply
from spark3r_stream.pubsub.zmtp_frames import FrameCost
from spark3r_stream.wire import envelope as wire


class SnapshotClient:
    """Asks the publisher on `endpoint` once for its map, about `max_points` of it (0: as many as it keeps)."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        security: ClientSecurity | None,
        max_points: int,
    ) -> None:
        address = endpoints.snapshot_address(endpoint)
        self._closing = contextlib.ExitStack()
        folder = self._closing.enter_context(endpoints.private_folder())
        limits = RelayLimits(connections=1, download_bytes=MAX_REPLY_BYTES + wire.MIB, cost=FrameCost, redial=True)
        listener, _ = endpoints.listen(f"ipc://{folder}/snapshot")
        relay = Relay(listener, endpoints.dialer(address), limits, "snapshot-relay")
        self._closing.callback(relay.close)
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
        if security is not None:
            security.protect(self._socket)
        self._handshakes = HandshakeMonitor(self._socket, address, security)
        self._socket.connect(f"ipc://{folder}/snapshot")
        request = wire_pb2.SnapshotRequest(
            schema_major=wire.SCHEMA_MAJOR, schema_minor=wire.SCHEMA_MINOR, max_points=max_points
        )
        self._socket.send(request.SerializeToString())

    def wait(self, deadline_s: float, meanwhile: zmq.Socket[bytes], receive: Callable[[], None]) -> Snapshot | None:
        """The snapshot, None if none that can be read has come by `deadline_s` (of time.monotonic).

        `receive` is called whenever the socket `meanwhile` has something. Raises AuthError like `Subscriber`.
        """
        poller = zmq.Poller()
        for socket in (self._socket, meanwhile, self._handshakes.socket):
            poller.register(socket, zmq.POLLIN)
        while (left_s := deadline_s - time.monotonic()) > 0:
            ready = dict(poller.poll(int(1000 * left_s) + 1))
            if meanwhile in ready:
                receive()
            if self._handshakes.socket in ready:
                self._handshakes.read()
            if self._socket in ready:
                parts = self._socket.recv_multipart()
                return parse_reply(parts[0]) if len(parts) == 1 else None
        return None

    def close(self) -> None:
        self._handshakes.close()
        self._socket.close()
        self._closing.close()
