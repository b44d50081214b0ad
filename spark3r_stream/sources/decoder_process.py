"""The parent's end of one decoding child: start, messages, frames out of shared memory, kill."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from spark3r_stream.packets import InputPacket, PacketHook, StreamFormat
from spark3r_stream.sources import pipe
from spark3r_stream.sources.ring import FrameRing, remove_rings_of
from spark3r_stream.stats import DropCause


@dataclass(frozen=True)
class DecodeTarget:
    """What a child opens. url holds credentials: it travels through a pipe and is never printed.

    lossless: the child waits for the reader (a finite file) instead of dropping (a live stream).
    """

    url: str
    lossless: bool
    open_timeout_s: float
    read_timeout_s: float
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    single_thread: bool = False


@dataclass(frozen=True)
class Ready:
    """The child has loaded its libraries and begins to open the target."""


@dataclass(frozen=True)
class Opened:
    nominal_fps: float | None
    frame_count: int | None


@dataclass(frozen=True)
class Picture:
    """image: (H, W, 3) uint8 RGB, ours alone. number: among the pictures decoded, lost ones included.
    pts_ns: since the first picture.
    captured_monotonic_ns: end of decoding on this machine's clock.
    """

    image: np.ndarray
    number: int
    pts_ns: int
    captured_monotonic_ns: int
    drops: Mapping[DropCause, int]


@dataclass(frozen=True)
class Finished:
    """The stream has ended (error None) or failed; also when the child died or was killed."""

    error: str | None
    drops: Mapping[DropCause, int]


Event = Ready | Opened | Picture | Finished


class DecoderProcess:
    """One child, decoding one target once. `next` belongs to one thread; `kill` may be called from any."""

    def __init__(self, target: DecodeTarget, epoch: int, on_packet: PacketHook | None) -> None:
        self._epoch = epoch
        self._on_packet = on_packet
        self._ring: FrameRing | None = None
        self._events: queue.Queue[tuple[dict[str, Any], bytes] | None] = queue.Queue()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "spark3r_stream.sources.decoder_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us: the stream is closed in order, not shot from under the reader
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._stdin, self._stdout = self._child.stdin, self._child.stdout
        self._tell(target)
        self._pump = threading.Thread(target=self._receive_all, name="spark3r-decoder", daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def next(self, timeout_s: float) -> Event | None:
        """The next event, None after `timeout_s`. After Finished there is nothing more."""
        try:
            message = self._events.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        if message is None:
            return Finished(f"the decoding process ended unexpectedly ({self._exit_text()})", {})
        header = message[0]
        match header["type"]:
            case "ring":
                if self._ring is not None:
                    self._ring.close()
                self._ring = header["ring"]
                return self.next(timeout_s)
            case "ready":
                return Ready()
            case "opened":
                return Opened(header["fps"], header["frame_count"])
            case "frame":
                return self._picture(header)
            case "end":
                return Finished(None, _drops(header))
            case _:
                return Finished(str(header.get("message")), _drops(header))

    def kill(self) -> None:
        """End the child, whatever it is stuck in, and free everything. Idempotent; a blocked `next` returns."""
        with contextlib.suppress(OSError):
            self._child.kill()
        self._child.wait()
        if threading.current_thread() is not self._pump:
            self._pump.join()
        for stream in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                stream.close()
        remove_rings_of(self.pid)

    def _tell(self, target: DecodeTarget) -> None:
        with contextlib.suppress(OSError):  # a child that died at once is reported by its closed stdout
            pipe.send(
                self._stdin,
                {
                    "target": target.url,
                    "format": target.format,
                    "options": dict(target.options),
                    "open_timeout_s": target.open_timeout_s,
                    "read_timeout_s": target.read_timeout_s,
                    "single_thread": target.single_thread,
                    "lossless": target.lossless,
                    "packets": self._on_packet is not None,
                },
            )

    def _receive_all(self) -> None:
        """Runs in a thread of its own, so that the child's pipe never fills; ends when the child does."""
        try:
            while (message := pipe.receive(self._stdout)) is not None:
                if message[0]["type"] == "ring":
                    self._attach(message[0])
                elif message[0]["type"] == "packet":
                    self._hand_on_packet(*message)
                else:
                    self._events.put(message)
        except Exception as error:  # a failing packet hook must not leave the reader waiting
            text = f"receiving from the decoding process failed: {error}"
            self._events.put(({"type": "error", "message": text, "drops": {}}, b""))
        finally:
            self._events.put(None)

    def _attach(self, header: dict[str, Any]) -> None:
        ring = FrameRing.attach(Path(header["path"]), header["slots"], header["slot_bytes"])
        ring.unlink()
        self._events.put(({"type": "ring", "ring": ring}, b""))

    def _hand_on_packet(self, header: dict[str, Any], data: bytes) -> None:
        assert self._on_packet is not None
        matrix = header["display_matrix"]
        self._on_packet(
            InputPacket(
                data=data,
                pts=header["pts"],
                dts=header["dts"],
                time_base=Fraction(*header["time_base"]),
                is_keyframe=header["is_keyframe"],
                codec=header["codec"],
                extradata=bytes.fromhex(header["extradata_hex"]),
                display_matrix=tuple(matrix) if matrix is not None else None,
                epoch=self._epoch,
                stream=StreamFormat(**header["stream"]) if header["stream"] is not None else None,
                is_discarded=header["is_discarded"],
            )
        )

    def _picture(self, header: dict[str, Any]) -> Event:
        assert self._ring is not None
        image = self._ring.read(header["slot"], header["height"], header["width"])
        with contextlib.suppress(OSError):
            self._stdin.write(bytes((header["ring"], header["slot"])))
            self._stdin.flush()
        return Picture(
            image,
            header["number"],
            header["pts_ns"],
            header["captured_monotonic_ns"],
            _drops(header),
        )

    def _exit_text(self) -> str:
        code = self._child.poll()
        return "killed" if code is None else (f"signal {-code}" if code < 0 else f"exit code {code}")


def _drops(header: dict[str, Any]) -> dict[DropCause, int]:
    return {DropCause(name): count for name, count in header["drops"].items()}


def _environment() -> dict[str, str]:
    """Ours, with the folder of this package in front: the child must import the same code wherever it was found."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
