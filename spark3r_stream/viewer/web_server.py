"""The page behind its gate, at an address a browser can open."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import sys
import webbrowser
from collections.abc import Iterator
from os import environ
from typing import NamedTuple

from spark3r_stream.viewer.gate import Gate
from spark3r_stream.viewer.web_page import WebPage


class Served(NamedTuple):
    """url: to be opened; with the token, where one is needed. is_local: only this machine can reach it."""

    page: WebPage
    url: str
    is_local: bool


@contextlib.contextmanager
def serve_page(title: str, host: str = "127.0.0.1", port: int | None = None) -> Iterator[Served]:
    """An empty page on `host`; port as for `Gate`. Without a loopback address a fresh token is asked for.

    Raises ViewerUnavailable without viser, and if the address cannot be had.
    """
    is_local = is_loopback(host)
    token = None if is_local else secrets.token_urlsafe(24)
    inner_host = _inner_host()
    page = WebPage((inner_host, 0), title)
    with contextlib.closing(page), contextlib.closing(Gate(host, port, (inner_host, page.port), token)) as gate:
        name = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
        yield Served(page, f"http://{name}:{gate.port}/" + (f"?token={token}" if token else ""), is_local)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_browser(url: str) -> bool:
    """Open it where there is a screen. Without one some systems would start a browser of the terminal."""
    has_screen = sys.platform != "linux" or environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")
    return bool(has_screen) and webbrowser.open(url)


def _inner_host() -> str:
    """A loopback address that no page can guess, where there is more than one (all of 127.0.0.0/8 on Linux): the server
    there lets in whoever finds it, port by port."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])
