"""`spark3r run` as a process of its own, for tests that hurt it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SYNTHETIC = "synthetic:room?frames=100000&size=96x72&augment=0"


class Engine:
    """One run with random weights and a small input. `lines`: its JSON lines so far. `err`: its stderr, once ended."""

    def __init__(self, source: str, *more: object) -> None:
        command = ["run", source, "--weights", "random", "--size", "96", "--json", *map(str, more)]
        self.lines: list[dict[str, Any]] = []
        self.err = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spark3r_stream.cli.main", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_lines, self._read_err)]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_frames(self, count: int, timeout_s: float = 60.0) -> None:
        """Until `count` results are there; AssertionError with what the engine said if it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while len(self.lines) < count:
            assert self._process.poll() is None, self.wait(5.0) or self.err
            assert time.monotonic() < deadline, f"{len(self.lines)} of {count} frames after {timeout_s} s"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout_s} s: {self.err}") from None
        for reader in self._readers:
            reader.join(10)
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(10)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._process.poll() is None:
            self.kill()

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self.lines.append(json.loads(line))

    def _read_err(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            self.err = stream.read()


def descendants(pid: int) -> set[int]:
    """Process ids of all children and theirs, from /proc."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= {int(child)} | descendants(int(child))
    return found
