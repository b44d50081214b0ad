"""Which ZeroMQ addresses may be bound, and how binding one fails. Nothing leaves this machine by accident."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat

import zmq

from spark3r_stream.errors import PublishError

_SCHEMES = "tcp://127.0.0.1:5555, tcp://127.0.0.1:* or ipc:///tmp/spark3r.sock"


def bind_address(endpoint: str, allow_remote: bool = False) -> str:
    """The address to hand to ZeroMQ's bind for what the user wrote.

    allow_remote: the stream is encrypted and restricted, or the user said that it need not be. Raises PublishError for
    a scheme or form that is not supported, and without it for an address that other machines can reach.
    """
    scheme, separator, rest = endpoint.partition("://")
    if not separator or scheme not in ("tcp", "ipc", "inproc") or not rest:
        raise PublishError(f"cannot publish on {endpoint!r}; expected an address such as {_SCHEMES}")
    if scheme != "tcp":
        return endpoint
    host, colon, port = rest.rpartition(":")
    # the next port is the snapshots', hence 65534; ZeroMQ reads 0 as "any", here that is spelled *
    if not colon or not (port == "*" or (port.isdigit() and 0 < int(port) <= 65534)):
        raise PublishError(f"cannot publish on {endpoint!r}: no port from 1 to 65534 or *; expected e.g. {_SCHEMES}")
    if host == "localhost":
        host = "127.0.0.1"  # ZeroMQ takes names of interfaces here, not of hosts
    if not (_is_loopback(host) or allow_remote):
        raise PublishError(
            f"{endpoint} can be reached from other machines and the stream is neither encrypted nor restricted; "
            f"publish on 127.0.0.1, make keys with `spark3r keys new` and give --keys, or say --insecure"
        )
    return f"tcp://{host}:{port}"


def bind(sock: zmq.Socket[bytes], address: str) -> str:
    """Bind and return the address with its actual port.

    Raises PublishError if it is taken or cannot be bound, and for a path on which something else than a socket lies.
    """
    if address.startswith("ipc://"):
        _refuse_other_files(address.removeprefix("ipc://"))
        if _is_served(address.removeprefix("ipc://")):
            raise PublishError(f"{address} is in use by another program; stop it or choose another address")
    try:
        sock.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise PublishError(f"{address} is in use by another program; stop it or choose another port") from None
        raise PublishError(f"cannot publish on {address}: {error.strerror}") from None
    return sock.getsockopt_string(zmq.LAST_ENDPOINT)


def snapshot_address(address: str) -> str:
    """Where the snapshots of a stream are asked for: the next port, or the path with `.snapshot`."""
    scheme, _, rest = address.partition("://")
    if scheme != "tcp":
        return f"{address}.snapshot"
    host, _, port = rest.rpartition(":")
    return f"tcp://{host}:{int(port) + 1}"


def bind_pair(first: zmq.Socket[bytes], second: zmq.Socket[bytes], address: str) -> str:
    """Bind two sockets next to each other; with a free choice of port (`*`) other ports are tried. Returns the first's.

    Raises PublishError as `bind` does.
    """
    for attempt in range(20):
        bound = bind(first, address)
        try:
            bind(second, snapshot_address(bound))
        except PublishError:
            first.unbind(bound)
            if address.endswith(":*") and attempt < 19:
                continue
            raise
        return bound
    raise AssertionError("the last attempt returns or raises")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # "*", or the name of an interface


def _refuse_other_files(path: str) -> None:
    """ZeroMQ deletes whatever lies on the path it binds; only a socket that was left behind may go."""
    if path.startswith("@") or path == "*":  # no file: the abstract namespace, or a name that ZeroMQ makes up
        return
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # nothing there, or nothing to be had: binding says which
    if not stat.S_ISSOCK(mode):
        raise PublishError(f"{path} exists and is no socket; it would be deleted: choose another path for ipc://")


def _is_served(path: str) -> bool:
    """Whether someone listens on this Unix socket: ZeroMQ would delete the file and take the address silently."""
    try:
        if path.startswith("@") or not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(path)
        return True
    except OSError:
        return False
