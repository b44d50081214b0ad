"""The door before the page's server: who may come in, decided on the head of each connection.

The server behind it asks nobody who they are. Any page on the internet that is open in a browser of this machine may
connect to 127.0.0.1; browsers say which page it is (`Origin`) and by which name the machine was called (`Host`), and
those are looked at. From other machines nobody gets in without the token that is in the address we print: it comes back
as a cookie. Connections that may enter are passed on as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import threading
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from spark3r_stream.errors import ViewerUnavailable

DEFAULT_PORT = 8080
_PORTS_TRIED = 20  # from the default one, when the user asked for none
_MAX_HEAD = 32_768
_HEAD_S = 10.0
_MAX_CONNECTIONS = 64
_BLOCK = 65_536
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class Request(NamedTuple):
    """The head of an HTTP request. path: with the query. headers: by lower-case name; of several the last."""

    path: str
    headers: dict[str, str]

    @property
    def token(self) -> str | None:
        """As it stands in the address."""
        return parse_qs(urlsplit(self.path).query).get("token", [None])[0]

    def cookie(self, name: str) -> str | None:
        try:
            morsel = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return None
        return None if morsel is None else morsel.value


def parse_head(head: bytes) -> Request | None:
    """None for what is no request of HTTP/1.1 for something."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[0] != "GET" or not words[1].startswith("/") or not words[2].startswith("HTTP/1."):
        return None
    pairs = (line.partition(":") for line in lines[1:] if ":" in line)
    return Request(words[1], {name.strip().lower(): value.strip() for name, _, value in pairs})


def why_refused(request: Request, port: int, token: str | None) -> str | None:
    """None if the request may enter. token: None on a loopback address, where the name of the host decides."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return f"this page may not be used by {origin[:80]}"
    if token is None:
        return None if host in [f"{name}:{port}" for name in _LOCAL_NAMES] else f"this machine is not {host[:80]}"
    given = request.token or request.cookie(cookie_name(port)) or ""
    return (
        None if hmac.compare_digest(given.encode(), token.encode()) else "open the address that `spark3r view` printed"
    )


def cookie_name(port: int) -> str:
    """Cookies do not know ports: two viewers on one machine have names of their own."""
    return f"spark3r-{port}"


class Gate:
    """Listens on `host` from construction to `close`, and passes on to `inner` (host, port).

    port: None: 8080 or one of the next that is free. token: None lets in whoever calls this machine by a loopback name.
    Raises ViewerUnavailable if the address cannot be had.
    """

    def __init__(self, host: str, port: int | None, inner: tuple[str, int], token: str | None = None) -> None:
        self._inner, self._token = inner, token
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        try:
            self._server = self._loop.run_until_complete(self._listen(host, port))
        except OSError as error:
            self._loop.close()
            what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror or error})"
            raise ViewerUnavailable(f"the address {host}:{port or DEFAULT_PORT} {what}; give another --port") from error
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, name="viewer-gate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up on everybody."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _listen(self, host: str, port: int | None) -> asyncio.Server:
        ports = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED)
        for candidate in ports:
            try:
                return await asyncio.start_server(self._meet, host, candidate, limit=_MAX_HEAD)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or candidate == ports[-1]:
                    raise
        raise AssertionError("no port to try")

    async def _end(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            # Cancelled only by `close`; asyncio would complain about a connection that ends that way.
            gone = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)
            with contextlib.suppress(*gone, asyncio.CancelledError):
                if self._connections <= _MAX_CONNECTIONS:
                    await self._answer(reader, writer)
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_S)
        request = parse_head(head)
        refusal = "what came is no request" if request is None else why_refused(request, self.port, self._token)
        if request is None or refusal is not None:
            writer.write(_response("403 Forbidden", f"spark3r: {refusal}\n"))
            await writer.drain()
        elif self._token is not None and request.token is not None:  # keep it out of the page's address
            cookie = f"{cookie_name(self.port)}={self._token}; Path=/; HttpOnly; SameSite=Lax"
            writer.write(_response("303 See Other", "", f"Location: /\r\nSet-Cookie: {cookie}\r\n"))
            await writer.drain()
        else:
            await self._pass_on(head, reader, writer)

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*self._inner)
        try:
            inner_writer.write(head)
            both = [
                asyncio.ensure_future(_pour(reader, inner_writer)),
                asyncio.ensure_future(_pour(inner_reader, writer)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            inner_writer.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends; no faster than the receiver takes it."""
    while block := await reader.read(_BLOCK):
        writer.write(block)
        await writer.drain()


def _response(status: str, text: str, headers: str = "") -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}Connection: close\r\n\r\n".encode() + body
