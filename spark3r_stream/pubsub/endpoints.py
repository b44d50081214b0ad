"""Which addresses may be published on, how listening fails, and how others are reached.

Nothing leaves this machine by accident.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spark3r_stream.errors import PublishError, WireError

_BACKLOG = 128
_UNIX_PATH_BYTES = 104  # what every system takes
_SIOCGIFADDR = 0x8915
_SCHEMES = "tcp://127.0.0.1:5555, tcp://127.0.0.1:* or ipc:///tmp/spark3r.sock"


def bind_address(endpoint: str, allow_remote: bool = False) -> str:
    """The address to listen on for what the user wrote.

    allow_remote: the stream is encrypted and restricted, or the user said that it need not be. Raises PublishError for
    a scheme or form that is not supported, and without it for an address that other machines can reach.
    """
    scheme, separator, rest = endpoint.partition("://")
    if not separator or scheme not in ("tcp", "ipc") or not rest:
        raise PublishError(f"cannot publish on {endpoint!r}; expected an address such as {_SCHEMES}")
    if scheme != "tcp":
        return endpoint
    host, colon, port = rest.rpartition(":")
    # the next port is the snapshots', hence 65534; any port is spelled *
    if not colon or not (port == "*" or (port.isdigit() and 0 < int(port) <= 65534)):
        raise PublishError(f"cannot publish on {endpoint!r}: no port from 1 to 65534 or *; expected e.g. {_SCHEMES}")
    if host == "localhost":
        host = "127.0.0.1"  # other names are those of network interfaces, not of hosts
    if not (_is_loopback(host) or allow_remote):
        raise PublishError(
            f"{endpoint} can be reached from other machines and the stream is neither encrypted nor restricted; "
            f"publish on 127.0.0.1, make keys with `spark3r keys new` and give --keys, or say --insecure"
        )
    return f"tcp://{host}:{port}"


def snapshot_address(address: str) -> str:
    """Where the snapshots of a stream are asked for: the next port, or the path with `.snapshot`."""
    scheme, _, rest = address.partition("://")
    if scheme != "tcp":
        return f"{address}.snapshot"
    host, _, port = rest.rpartition(":")
    return f"tcp://{host}:{int(port) + 1}"


def listen(address: str) -> tuple[socket.socket, str]:
    """A listening socket and its address with the actual port. Raises PublishError if it is taken or cannot be had."""
    scheme, _, rest = address.partition("://")
    try:
        if scheme == "ipc":
            return _listen_ipc(rest), address
        host, _, port = rest.rpartition(":")
        family, place = _place(host, 0 if port == "*" else int(port))
        sock = socket.socket(family)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            choose = "address" if scheme == "ipc" else "port"
            raise PublishError(f"{address} is in use by another program; stop it or choose another {choose}") from None
        raise PublishError(f"cannot publish on {address}: {error.strerror or error}") from None
    return sock, f"tcp://{host if host != '*' else '0.0.0.0'}:{sock.getsockname()[1]}"


def listen_pair(address: str) -> tuple[socket.socket, socket.socket, str]:
    """Two listening sockets next to each other, and the first one's address; for a free choice of port, any two.

    Raises PublishError as `listen` does.
    """
    for attempt in range(20):
        first, bound = listen(address)
        try:
            return first, listen(snapshot_address(bound))[0], bound
        except PublishError:
            stop_listening(first, bound)
            first.close()
            if not address.endswith(":*") or attempt == 19:
                raise
    raise AssertionError("the last attempt returns or raises")


def stop_listening(sock: socket.socket, address: str) -> None:
    """Before a listening socket is closed: take its file away, if it has one."""
    path = address.removeprefix("ipc://")
    if sock.family == socket.AF_UNIX and not path.startswith("@"):
        with contextlib.suppress(OSError):
            os.unlink(path)


def dialer(endpoint: str) -> Callable[[], socket.socket]:
    """What begins to connect to `endpoint` and returns the socket, non-blocking; raises OSError if that fails at once.

    Raises WireError for an address that cannot be one.
    """
    scheme, _, rest = endpoint.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme == "ipc" and rest and len(rest.encode()) < _UNIX_PATH_BYTES:
        return lambda: _connecting(socket.AF_UNIX, _unix_name(rest))
    if scheme != "tcp" or not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise WireError(f"cannot subscribe to {endpoint!r}; expected e.g. tcp://127.0.0.1:5555 or ipc:///tmp/a.sock")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET

    def dial() -> socket.socket:
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), family, socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError(f"no host can be named {host!r}") from None
        return _connecting(family, found[0][4])

    return dial


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for sockets between parts of this process; nobody else can enter it, and it goes with the block."""
    parent = tempfile.gettempdir()
    short = len(parent.encode()) < _UNIX_PATH_BYTES - 40  # the path of a socket has little room
    with tempfile.TemporaryDirectory(prefix="spark3r-", dir=parent if short else "/tmp") as folder:
        yield Path(folder)


def _connecting(family: int, place: Any) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(place)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_ipc(path: str) -> socket.socket:
    """Only a socket that nobody serves is replaced; any other file is somebody's."""
    if not path.startswith("@"):
        if _is_served(path):
            raise OSError(errno.EADDRINUSE, "in use")
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EEXIST, "there is a file of that name that is no socket; choose another path")
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(_unix_name(path))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _unix_name(path: str) -> str:
    return f"\0{path[1:]}" if path.startswith("@") else path


def _place(host: str, port: int) -> tuple[int, Any]:
    """Address family and address of a host in numbers, of `*`, or of the network interface of that name (Linux)."""
    if host == "*":
        host = "0.0.0.0"
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        return found[0][0], found[0][4]
    except (socket.gaierror, UnicodeError):
        pass
    import fcntl  # not on Windows, where only numbers are taken

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", host.encode()[:15]))
    return socket.AF_INET, (socket.inet_ntoa(answer[20:24]), port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # "*", or the name of an interface


def _is_served(path: str) -> bool:
    """Whether someone listens on this Unix socket."""
    try:
        if path.startswith("@") or not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(path)
        return True
    except OSError:
        return False
