"""Who may connect, and how the one who may not is told: ZAP on the publisher's side, monitors on the subscriber's.

ZeroMQ never tells a program that its peer refused it; it only goes silent. The events of a socket's monitor do, but
for one case: a failure "without detail" is a wrong server key as well as a forwarded port with nobody behind it yet,
which is worth waiting for. There the peer is asked for its greeting (ZMTP 3, RFC 23), which names its mechanism.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Callable, Sequence

import zmq
from zmq.utils import z85

from spark3r_stream.errors import AuthError
from spark3r_stream.pubsub.keys import ClientSecurity

ZAP_ADDRESS = "inproc://zeromq.zap.01"
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED  # for whoever waits: the relay may have died
)
_MISMATCH = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: one side encrypts, the other does not
_PATIENCE = 3  # failures without detail in a row before the peer is asked: it may just be starting or ending
_GREETING_S = 0.5
_GREETING_START = b"\xff" + bytes(8) + b"\x7f\x03"  # signature and major version; the peer then sends all of its own
_GREETING_BYTES = 64
_numbers = itertools.count()


def zap_answer(request: Sequence[bytes], admits: Callable[[bytes], bool]) -> list[bytes]:
    """The answer (ZeroMQ RFC 27) to "may this client connect?": 200 for a CURVE key that `admits` takes, else 400."""
    request_id = request[1] if len(request) > 1 else b""
    if len(request) == 7 and request[0] == b"1.0" and request[5] == b"CURVE" and len(request[6]) == 32:
        key = z85.encode(request[6])
        if admits(key):
            return [b"1.0", request_id, b"200", b"OK", key, b""]
    return [b"1.0", request_id, b"400", b"not an allowed client", b"", b""]


class HandshakeMonitor:
    """Watches the handshakes of a connecting socket; poll `socket` beside it and call `read` when it is readable."""

    def __init__(self, watched: zmq.Socket[bytes], endpoint: str, security: ClientSecurity | None) -> None:
        self._watched = watched
        self._endpoint = endpoint
        self._security = security
        self._failures = 0
        self._refusal: AuthError | None = None
        address = f"inproc://handshakes-{next(_numbers)}"
        watched.monitor(address, _EVENTS)
        self.socket = watched.context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.RCVHWM, 0)  # a caller that never polls must not block ZeroMQ's thread
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)

    def check(self) -> None:
        """Raise AuthError again if the peer refused for good: ZeroMQ does not try again after that."""
        if self._refusal is not None:
            raise self._refusal

    def read(self) -> None:
        """Take the waiting events. Raises AuthError if the peer refused this side, or is not who it should be."""
        with contextlib.suppress(zmq.Again):
            while True:
                event, value = struct.unpack("=Hi", self.socket.recv_multipart(zmq.NOBLOCK)[0])
                if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self._failures = 0
                elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    self._refusal = AuthError(self._refused())
                elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                    self._refusal = AuthError(self._mismatch() if value == _MISMATCH else self._broken(value))
                elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                    self._failures += 1
        self.check()
        if self._failures >= _PATIENCE:
            mechanism = peer_mechanism(self._endpoint)
            if mechanism is not None and (mechanism == "CURVE" or self._security is not None):
                raise AuthError(self._mismatch())

    def close(self) -> None:
        """Before the watched socket is closed."""
        if not self.socket.closed:
            self._watched.disable_monitor()
            self.socket.close()

    def _refused(self) -> str:
        if self._security is None:
            return self._mismatch()
        return (
            f"the publisher on {self._endpoint} refused this key: {self._security.keys.public.decode()}; "
            f"add it to the publisher's allowed_clients"
        )

    def _mismatch(self) -> str:
        if self._security is None:
            return f"the publisher on {self._endpoint} admits only clients with keys; give --keys and --server-key"
        return (
            f"who answers on {self._endpoint} does not have the secret of the server key "
            f"{self._security.server_key.decode()}; compare it with `spark3r keys show` on the publisher's side"
        )

    def _broken(self, code: int) -> str:
        return f"the handshake with {self._endpoint} failed (ZeroMQ's protocol error {code:#x}); is it a publisher?"


def peer_mechanism(endpoint: str) -> str | None:
    """The security mechanism ("NULL", "CURVE") that a ZeroMQ peer announces; None if no such peer answers."""
    received = b""
    try:
        with _connect(endpoint) as peer:
            peer.settimeout(_GREETING_S)
            peer.sendall(_GREETING_START)
            while len(received) < _GREETING_BYTES and (data := peer.recv(_GREETING_BYTES - len(received))):
                received += data
    except (OSError, ValueError):
        return None
    if len(received) < _GREETING_BYTES or received[0] != 0xFF or received[9] != 0x7F:
        return None
    return received[12:32].rstrip(b"\0").decode("ascii", "replace")


def _connect(endpoint: str) -> socket.socket:
    scheme, _, rest = endpoint.partition("://")
    if scheme == "tcp":
        host, _, port = rest.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), _GREETING_S)
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.settimeout(_GREETING_S)
        peer.connect(f"\0{rest[1:]}" if rest.startswith("@") else rest)
    except BaseException:
        peer.close()
        raise
    return peer
