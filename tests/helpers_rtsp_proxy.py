"""Stands between an RTSP client and its server on TCP: damages RTP packets on request and cuts connections."""

from __future__ import annotations

import contextlib
import random
import socket
import threading

_RTP_HEADER_BYTES = 12
_RTP_CHANNEL = 0  # RTP/AVP/TCP interleaved: 0 carries the video, 1 its RTCP (RFC 2326, 10.12)


class RtspProxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`upstream_port`; the server may come and go behind it.

    `damaged` counts RTP packets whose payload was changed, `forwarded` all that went through, `accepted` connections.
    """

    def __init__(self, upstream_port: int, seed: int = 0) -> None:
        self.upstream_port = upstream_port
        self.damaged = 0
        self.forwarded = 0
        self.accepted = 0
        self._random = random.Random(seed)
        self._to_damage = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="rtsp-proxy", daemon=True)
        self._acceptor.start()

    def url(self, path: str = "ball") -> str:
        return f"rtsp://127.0.0.1:{self.port}/{path}"

    def damage(self, packets: int) -> None:
        """Change bytes in the payloads of the next so many video packets; headers stay whole."""
        with self._lock:
            self._to_damage += packets

    def cut(self) -> int:
        """End every connection at once, as a cable pulled out and put back. How many there were."""
        with self._lock:
            sockets = list(self._open)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        return len(sockets) // 2

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept, which close alone does not
        self._listener.close()
        self._acceptor.join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> RtspProxy:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream_port), 2.0)
                server.settimeout(None)
            except OSError:  # no server there: refuse, as it would itself
                client.close()
                continue
            self.accepted += 1
            with self._lock:
                self._open |= {client, server}
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            for forward, source, sink in ((self._copy, client, server), (self._copy_video, server, client)):
                thread = threading.Thread(target=self._run, args=(forward, source, sink), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, forward, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            forward(source, sink)
        for one in (source, sink):  # one direction has ended: so does the other
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            finished = source in self._open
            self._open.discard(source)
        if finished:
            source.close()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)

    def _copy_video(self, source: socket.socket, sink: socket.socket) -> None:
        """Text answers pass as they are; interleaved packets ($, channel, 16-bit length) one at a time."""
        waiting = bytearray()
        while data := source.recv(65536):
            waiting += data
            while waiting:
                if waiting[:1] != b"$":
                    end = waiting.find(b"$")
                    end = len(waiting) if end < 0 else end
                    sink.sendall(waiting[:end])
                    del waiting[:end]
                    continue
                if len(waiting) < 4 or len(waiting) < 4 + int.from_bytes(waiting[2:4], "big"):
                    break
                size = 4 + int.from_bytes(waiting[2:4], "big")
                packet = waiting[:size]
                del waiting[:size]
                if packet[1] == _RTP_CHANNEL:
                    self._maybe_damage(packet)
                sink.sendall(packet)

    def _maybe_damage(self, packet: bytearray) -> None:
        begin = 4 + _RTP_HEADER_BYTES + 2  # behind the NAL unit header, which says what kind it is
        with self._lock:
            self.forwarded += 1
            if self._to_damage == 0 or len(packet) < begin + 16:  # parameter sets are too short to be hit
                return
            self._to_damage -= 1
            self.damaged += 1
            for _ in range(max(8, len(packet) // 20)):
                packet[self._random.randrange(begin, len(packet))] ^= self._random.randrange(1, 256)
