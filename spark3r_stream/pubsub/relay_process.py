"""A publisher's relay (relay_program.py) as a process of its own: it shares no interpreter lock with the engine.

A process that dies, of whatever cause, is started anew on the same listening socket; clients reconnect by themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from spark3r_stream.errors import PublishError
from spark3r_stream.pubsub.limits import RelayLimits, UploadLimit

_PROGRAM = Path(__file__).with_name("relay_program.py")
_RESTART_S = 1.0  # not sooner after the last start

# A client sends about 1 KiB to connect, encrypted or not, and 41 bytes per second of heartbeats.
STREAM_LIMITS = RelayLimits(
    connections=64, connections_per_s=32.0, upload=UploadLimit(burst_bytes=8192, bytes_per_s=128.0)
)
SNAPSHOT_LIMITS = RelayLimits(
    connections=16,
    connections_per_s=8.0,
    upload=UploadLimit(burst_bytes=4096, bytes_per_s=128.0),
    age_s=60.0,
    stall_s=10.0,
)


class RelayProcess:
    """Relays what `listener` accepts to the Unix socket `target`, within `limits` (of connections and `upload`).

    Owns `listener`. Raises PublishError if the process cannot be started. End of life: `close`.
    """

    def __init__(self, listener: socket.socket, target: Path, limits: RelayLimits) -> None:
        self._listener = listener
        self._refused_before = 0
        self._refused = 0
        given = {name: value for name, value in asdict(limits).items() if name not in ("cost", "download_bytes")}
        self._argument = json.dumps({"listener": listener.fileno(), "target": str(target), "limits": given})
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def refused(self) -> int:
        """Connections that were hung up on for what they sent."""
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # nothing new; or closed
            lines = os.read(self._process.stdout.fileno(), 65536).split()
            self._refused = int(lines[-1]) if lines else self._refused
        return self._refused_before + self._refused

    def keep_running(self) -> None:
        """Start it again if it has died, a second after the last time at the earliest."""
        if self._process.poll() is not None and time.monotonic() - self._started_s >= _RESTART_S:
            self._refused_before, self._refused = self.refused, 0
            self._close_pipes()
            self._process = self._start()

    def hang_up_on_the_busiest(self) -> None:
        """Close the connection that has sent the most beyond heartbeats."""
        self._tell("busiest")

    def close(self, linger_s: float = 0.0) -> None:
        """Accept nobody any more, pass on for `linger_s` what is on its way, and end. Further calls do nothing."""
        if self._listener.fileno() == -1:
            return
        self._listener.close()
        self._tell(f"close {linger_s}")
        try:
            self._process.wait(linger_s + 1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._refused_before, self._refused = self.refused, 0
        self._close_pipes()

    def _start(self) -> subprocess.Popen[bytes]:
        self._started_s = time.monotonic()
        # a session of its own: Ctrl-C is for the publisher, which ends this one when all is sent
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), self._argument],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[self._listener.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            raise PublishError(f"cannot start the relay before the publisher: {error.strerror}") from None
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has died
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
