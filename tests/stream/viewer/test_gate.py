"""Who may open the page."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from spark3r_stream.errors import ViewerUnavailable
from spark3r_stream.viewer.gate import Gate, Request, cookie_name, parse_head, why_refused
from spark3r_stream.viewer.web_server import is_loopback

TOKEN = "s3cret"


class Page(http.server.BaseHTTPRequestHandler):
    """What is behind the gate: says the path that it was asked for, and anything of any size."""

    def do_GET(self) -> None:
        body = self.path.encode() * (1 if self.path != "/large" else 1_000_000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def gate(token: str | None = None, host: str = "127.0.0.1") -> Iterator[Gate]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with contextlib.closing(Gate(host, 0, ("127.0.0.1", server.server_port), token)) as opened:
            yield opened
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(port: int, path: str = "/", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def test_a_page_of_this_machine_comes_through_whole() -> None:
    with gate() as opened:
        assert get(opened.port, "/a")[:2] == (200, b"/a")
        assert len(get(opened.port, "/large")[1]) == 6_000_000
        origin = f"http://localhost:{opened.port}"
        assert get(opened.port, "/a", Host=f"localhost:{opened.port}", Origin=origin)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Host": "rebound.example:8080"},
        {"Host": "rebound.example:8080", "Origin": "http://rebound.example:8080"},
        {"Host": "127.0.0.1:1"},
    ],
)
def test_pages_from_elsewhere_stay_outside(headers: dict[str, str]) -> None:
    with gate() as opened:
        status, text, _ = get(opened.port, "/a", **headers)
        assert status == 403
        assert text.startswith(b"spark3r: ")


def test_from_other_machines_only_with_the_token() -> None:
    with gate(TOKEN, "0.0.0.0") as opened:
        for path in ("/", "/?token=", "/?token=wrong", "/?token=%C3%A9"):
            assert get(opened.port, path)[0] == 403
        assert get(opened.port, "/", Cookie=f"{cookie_name(opened.port)}=wrong")[0] == 403
        status, _, headers = get(opened.port, f"/?token={TOKEN}")
        assert (status, headers["Location"]) == (303, "/")
        assert "HttpOnly" in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert get(opened.port, "/a", Cookie=cookie)[:2] == (200, b"/a")
        assert get(opened.port, "/a", Cookie=cookie, Host="10.0.0.7:8080")[0] == 200
        assert get(opened.port, "/a", Cookie=cookie, Origin="http://elsewhere.example")[0] == 403


@pytest.mark.parametrize(
    "junk", [b"\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"GET\r\n\r\n", b"\xff" * 50_000, b"\x16\x03\x01"]
)
def test_what_is_no_request_gets_no_page(junk: bytes) -> None:
    with gate() as opened:
        with socket.create_connection(("127.0.0.1", opened.port), timeout=10) as client:
            with contextlib.suppress(OSError):
                client.sendall(junk)
                client.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(OSError):
                received = client.recv(200)
        assert b"200" not in received.split(b"\r\n")[0]
        assert get(opened.port, "/a")[0] == 200, "others are served"


def test_heads_are_read_as_they_are_written() -> None:
    request = parse_head(b"GET /x?token=t HTTP/1.1\r\nHOST:  h:1 \r\nCookie: a=b; spark3r-9=c\r\n\r\n")
    assert request == Request("/x?token=t", {"host": "h:1", "cookie": "a=b; spark3r-9=c"})
    assert request.token == "t"
    assert request.cookie("spark3r-9") == "c"
    assert request.cookie("other") is None
    assert Request("/", {"cookie": "=;\x01"}).cookie("a") is None
    assert why_refused(Request("/", {}), 1, None) is not None


def test_a_port_that_is_taken_is_named_and_the_default_one_moves_on() -> None:
    with gate() as opened:
        with pytest.raises(ViewerUnavailable, match=rf"127\.0\.0\.1:{opened.port} is taken; give another --port"):
            Gate("127.0.0.1", opened.port, ("127.0.0.1", 1))
        with pytest.raises(ViewerUnavailable, match="cannot be had"):
            Gate("203.0.113.1", None, ("127.0.0.1", 1))
    with contextlib.closing(Gate("127.0.0.1", None, ("127.0.0.1", 1))) as first:
        second = Gate("127.0.0.1", None, ("127.0.0.1", 1))
        second.close()
        assert second.port > first.port >= 8080


def test_closing_hangs_up() -> None:
    opened = Gate("127.0.0.1", 0, ("127.0.0.1", 1))
    with socket.create_connection(("127.0.0.1", opened.port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        opened.close()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    with pytest.raises(OSError):  # noqa: PT011 - refused, in the words of any system
        socket.create_connection(("127.0.0.1", opened.port), timeout=10)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("my.host", False)],
)  # fmt: skip
def test_which_addresses_are_this_machines(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
