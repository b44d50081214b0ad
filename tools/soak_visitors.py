"""The subscribers of tools/soak.py: some behave, most do not. None may disturb the engine or the faithful one."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections import Counter

import zmq

from spark3r_stream.errors import StreamError
from spark3r_stream.pubsub.subscriber import Subscriber

STAY_S = 3.0


class Visitors:
    """Threads that connect to `endpoint` (tcp), do something and leave. `came` and `failed` count by manner.

    Manners: reader (takes what comes), joiner (asks for the map so far), staller (connects and never reads), vanisher
    (its connection is reset, without a goodbye), shouter (sends ZeroMQ messages that mean nothing), scanner (sends
    bytes that are no ZeroMQ, on both ports).
    """

    MANNERS = ("reader", "joiner", "staller", "vanisher", "shouter", "scanner")

    def __init__(self, endpoint: str, seed: int = 0) -> None:
        self.endpoint = endpoint
        self.came: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._address = (endpoint.split("//")[1].rpartition(":")[0], int(endpoint.rpartition(":")[2]))
        self._random = random.Random(seed)
        self._threads: list[threading.Thread] = []

    def send_one(self) -> str:
        """Start the next visitor; its manner."""
        manner = self.MANNERS[sum(self.came.values()) % len(self.MANNERS)]
        self.came[manner] += 1
        garbage = self._random.randbytes(self._random.randrange(1, 900))
        thread = threading.Thread(target=self._visit, args=(manner, garbage), name=f"visitor-{manner}", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()
        return manner

    def wait(self, timeout_s: float) -> int:
        """How many are still there after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in self._threads)

    def _visit(self, manner: str, garbage: bytes) -> None:
        try:
            getattr(self, f"_{manner}")(garbage)
        except (StreamError, OSError, zmq.ZMQError, AssertionError):
            self.failed[manner] += 1

    def _reader(self, _garbage: bytes) -> None:
        with Subscriber(self.endpoint, timeout_s=1.0) as subscriber:
            end = time.monotonic() + STAY_S
            while time.monotonic() < end and sum(subscriber.received.values()) < 500:
                subscriber.poll(0.5)
            assert subscriber.connections, "the publisher never answered"

    def _joiner(self, _garbage: bytes) -> None:
        with Subscriber(self.endpoint) as subscriber:
            subscriber.join(timeout_s=20.0, max_points=20_000)

    def _staller(self, _garbage: bytes) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as lazy:
            lazy.setsockopt(zmq.LINGER, 0)
            lazy.setsockopt(zmq.RCVHWM, 1)
            lazy.setsockopt(zmq.SUBSCRIBE, b"")
            lazy.connect(self.endpoint)
            time.sleep(2 * STAY_S)

    def _vanisher(self, _garbage: bytes) -> None:
        """ZMTP 3.0 by hand, as far as a subscription; then a reset (SO_LINGER 0), as when a machine loses power."""
        with socket.create_connection(self._address, 5.0) as peer:
            peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32))
            peer.sendall(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB" + b"\x00\x01\x01")
            peer.recv(4096)
            time.sleep(STAY_S / 3)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _shouter(self, garbage: bytes) -> None:
        with zmq.Context() as context:
            host, port = self._address
            for kind, number in ((zmq.XSUB, port), (zmq.DEALER, port + 1)):
                with context.socket(kind) as rude:
                    rude.setsockopt(zmq.LINGER, 200)
                    rude.setsockopt(zmq.SNDTIMEO, 1000)
                    rude.connect(f"tcp://{host}:{number}")
                    for _ in range(20):
                        rude.send_multipart([garbage, b"", os.urandom(50)] if kind == zmq.DEALER else [garbage])

    def _scanner(self, garbage: bytes) -> None:
        host, port = self._address
        for number in (port, port + 1):
            for data in (garbage, b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f"):
                with socket.create_connection((host, number), 5.0) as peer, contextlib.suppress(OSError):
                    peer.sendall(data)
