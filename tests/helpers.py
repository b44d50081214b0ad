"""Shared by tests: a clock that moves when told to, frames without a camera, the command line in this process."""

from __future__ import annotations

import multiprocessing
import sys
import threading

import numpy as np
import pytest

from spark3r_stream.frame import Frame


class FakeClock:
    """A Clock whose time passes only by `advance_s` and by waiting: `wait` returns at once and moves it on."""

    def __init__(self, unix_start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._lock = threading.Lock()
        self._monotonic_ns = 5_000_000_000
        self._unix_minus_monotonic = unix_start_ns - self._monotonic_ns

    def monotonic_ns(self) -> int:
        with self._lock:
            return self._monotonic_ns

    def unix_at(self, monotonic_ns: int) -> int:
        return self._unix_minus_monotonic + monotonic_ns

    def unix_ns(self) -> int:
        return self.unix_at(self.monotonic_ns())

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if event.is_set():
            return True
        self.advance_s(max(0.0, timeout_s))
        return False

    def advance_s(self, seconds: float) -> None:
        with self._lock:
            self._monotonic_ns += round(seconds * 1e9)


def make_frame(frame_id: int, *, size: tuple[int, int] = (8, 6), epoch: int = 0, source_id: str = "test") -> Frame:
    """A small frame whose pixels say its id. size: (width, height)."""
    image = np.full((size[1], size[0], 3), frame_id % 251, np.uint8)
    pts_ns = frame_id * 33_333_333
    return Frame(image, frame_id, epoch, pts_ns, pts_ns, source_id)


def running() -> set[str]:
    """The child processes and the threads of ours that run now, by their names and numbers."""
    processes = {f"process {child.name} ({child.pid})" for child in multiprocessing.active_children()}
    threads = {f"thread {one.name} ({one.ident})" for one in threading.enumerate() if one.name.startswith("spark3r")}
    return processes | threads


def spark3r(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    from spark3r_stream.cli.main import main

    monkeypatch.setattr(sys, "argv", ["spark3r", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)
