"""The page that Prometheus reads: HTTP, read only, bounded in what a client may take of this process.

`MetricsServer` has its port from the start and answers from `serve` on, so that a port in use costs no loading of a
model.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from spark3r_stream.config import ConfigError
from spark3r_stream.errors import StreamError
from spark3r_stream.plain_text import cleaned

log = logging.getLogger(__name__)

MOST_CLIENTS = 8  # at a time; Prometheus is one. More are hung up on
PATIENCE_S = 5.0  # for a client that sends nothing


def metrics_address(text: str, *, insecure: bool = False) -> tuple[str, int]:
    """Host and port of HOST:PORT, :PORT or PORT; without a host it is 127.0.0.1. Port 0: any that is free.

    Raises ConfigError for anything else, and for a host that other machines can reach unless `insecure`.
    """
    host, _, port = text.strip().rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or not port.isascii() or int(port) > 65535:
        raise ConfigError(f"--metrics {text}: no port from 0 to 65535; expected for example 127.0.0.1:9100 or 9100")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not (is_local or insecure):
        raise ConfigError(
            f"--metrics {text} can be reached from other machines, and what is on that page is for whoever asks; use"
            " 127.0.0.1 and let something with keys forward it, or say --insecure"
        )
    return host, int(port)


class MetricsServer:
    """Answers on `url` from `serve` to `close`. Raises StreamError for an address that cannot be had."""

    def __init__(self, address: tuple[str, int]) -> None:
        host, port = address
        try:
            self._server = _Server(address, _Handler)
        except OSError as error:
            raise StreamError(
                f"--metrics {host}:{port} cannot be served: {error.strerror or error}; choose another port"
            ) from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/metrics"
        self._thread: threading.Thread | None = None

    def serve(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """collect: called with each request, from a thread of the server."""
        registry = CollectorRegistry()
        registry.register(_Asked(collect))
        ProcessCollector(registry=registry)
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(target=self._server.serve_forever, name="spark3r-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Further calls do nothing."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()


class _Asked(Collector):
    """Asks when it is asked: nothing is counted twice, and nothing is done between two scrapes."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._free = threading.Semaphore(MOST_CLIENTS)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Without the look-up of this machine's name that HTTPServer makes, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: object, client_address: object) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, as a rule."""
        log.debug("a request for metrics broke off", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_S

    def log_message(self, format: str, *args: object) -> None:
        log.debug("metrics: %s", cleaned(format % args))
