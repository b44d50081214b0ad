"""A camera that serves MJPEG over HTTP on the loopback, at its own rate, and keeps when each picture went out."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BOUNDARY = "picture"


class HttpCamera:
    """Begins with the first picture for whoever connects; when all are sent, the connection stays open until `close`.

    sent_ns: Unix time at which each picture of the newest connection was handed to the network. finished: set when the
    last one was.
    """

    def __init__(self, pictures: Sequence[bytes], fps: float) -> None:
        self.finished = threading.Event()
        self.sent_ns: list[int] = []
        self._ending = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace;boundary={BOUNDARY}")
                self.end_headers()
                with contextlib.suppress(OSError):  # the viewer has gone
                    camera._stream(self, pictures, fps)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/camera.mjpg"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http-camera", daemon=True)
        self._thread.start()

    def _stream(self, handler: BaseHTTPRequestHandler, pictures: Sequence[bytes], fps: float) -> None:
        sent: list[int] = []
        self.sent_ns = sent
        begin = time.monotonic()
        for index, picture in enumerate(pictures):
            if self._ending.wait(max(0.0, begin + index / fps - time.monotonic())):
                return
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            sent.append(time.time_ns())
            handler.wfile.write(head.encode() + picture + b"\r\n")
        handler.wfile.write(f"--{BOUNDARY}\r\n".encode())  # tells a reader that the last picture is whole
        self.finished.set()
        self._ending.wait()

    def close(self) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
