"""Where a fleet is asked and told things while it runs: a socket file of its user's, on its own machine.

A request and its answer are one line of JSON each. Nobody but the user can open the file, so it needs no keys.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from spark3r_core.errors import Spark3rError
from spark3r_stream.config import ConfigError
from spark3r_stream.errors import StreamError

MAX_LINE_BYTES = 64 << 10  # of a request; an answer may be longer
_PREFIX, _SUFFIX = "fleet-", ".sock"
_REQUEST_S, _ANSWER_S, _CLOSE_S = 5.0, 60.0, 1.0

Request = dict[str, Any]


def desk_folder() -> Path:
    """The user's own folder for such files, made if need be. Raises ConfigError for one that others can write to."""
    folder = Path(platformdirs.user_runtime_dir("spark3r", appauthor=False))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022 or not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder} is not this user's alone; remove it, or set XDG_RUNTIME_DIR to another folder")
    return folder


def desk_path(name: str) -> Path:
    return desk_folder() / f"{_PREFIX}{name}{_SUFFIX}"


def running_fleets() -> list[str]:
    """Names of those whose desk answers."""
    names = []
    for path in sorted(desk_folder().glob(f"{_PREFIX}*{_SUFFIX}")):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            names.append(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX))
    return names


def ask(name: str, request: Request) -> Any:
    """The answer of a fleet. Raises ConfigError where none of that name runs, StreamError for what it refuses."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_ANSWER_S)
        try:
            sock.connect(str(desk_path(name)))
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as file:
                line = file.readline()
        except OSError as error:
            raise ConfigError(f"no fleet {name} runs here, or it does not answer ({error.strerror or error})") from None
    answer = json.loads(line or b'{"error": "it ended"}')
    if "error" in answer:
        raise StreamError(answer["error"])
    return answer["answer"]


@dataclass(frozen=True)
class _Waiting:
    """gave_up: who asked was told that nobody had time, and does not wait any more."""

    request: Request
    reply: queue.Queue[dict[str, Any]] = field(default_factory=lambda: queue.Queue(1))
    gave_up: threading.Event = field(default_factory=threading.Event)


class Desk:
    """Requests come in through a thread and wait until `serve` takes them, in the thread that looks after the fleet."""

    def __init__(self, name: str) -> None:
        if name in running_fleets():
            raise ConfigError(f"a fleet {name} runs here already; give this one another name")
        self._path = desk_path(name)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of one that died
        self._socket = socket.socket(socket.AF_UNIX)
        before = os.umask(0o077)
        try:
            self._socket.bind(str(self._path))
        finally:
            os.umask(before)
        self._socket.listen(4)
        self._waiting: queue.Queue[_Waiting] = queue.Queue(8)
        self._thread = threading.Thread(target=self._accept, name="spark3r-desk", daemon=True)
        self._thread.start()

    def serve(self, answer: Callable[[Request], Any]) -> None:
        """Answer what waits. What `answer` raises of our own errors is told to who asked."""
        with contextlib.suppress(queue.Empty):
            while True:
                waiting = self._waiting.get_nowait()
                if waiting.gave_up.is_set():
                    continue
                try:
                    waiting.reply.put({"answer": answer(waiting.request)})
                except (Spark3rError, OSError) as error:
                    waiting.reply.put({"error": str(error)})

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closing alone does not wake a thread that waits in accept
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_CLOSE_S)  # one that still waits for an answer ends by itself
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self) -> None:
        for connection in _connections(self._socket):
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_REQUEST_S)
                with connection.makefile("rb") as file:
                    line = file.readline(MAX_LINE_BYTES)
                connection.sendall(json.dumps(self._answered(line)).encode() + b"\n")

    def _answered(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):  # the second of brackets in brackets
            request = None
        if not isinstance(request, dict):
            return {"error": "expected one line of JSON, an object"}
        waiting = _Waiting(request)
        try:
            self._waiting.put(waiting, timeout=_REQUEST_S)
            return waiting.reply.get(timeout=_ANSWER_S)
        except (queue.Full, queue.Empty):
            waiting.gave_up.set()
            return {"error": "the fleet is too busy to answer"}


def _connections(listener: socket.socket) -> Iterator[socket.socket]:
    """Until the listener is closed."""
    while True:
        try:
            yield listener.accept()[0]
        except OSError:
            return
