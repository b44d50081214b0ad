"""Starts rtsp_clip_server.py and listens to what it says it sent."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from tests.helpers_rtsp import SYSTEM_PYTHON


class RtspCamera:
    """sent_ns: Unix time at which each picture for the newest client was sent. finished: set after the last."""

    def __init__(self, units: Path, fps: float) -> None:
        script = Path(__file__).with_name("rtsp_clip_server.py")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), str(units), str(fps)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.finished = threading.Event()
        self.sent_ns: list[int] = []
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("port "):
            self._process.kill()
            raise SystemExit(f"bench_live: the RTSP server did not start: {line!r}")
        self.url = f"rtsp://127.0.0.1:{int(line.split()[1])}/clip"
        self._thread = threading.Thread(target=self._listen, name="rtsp-camera", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = line.split()
            if words[0] == "end":
                self.finished.set()
            elif words[0] == "sent":
                if words[1] == "0":
                    self.sent_ns = []
                self.sent_ns.append(int(words[2]))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
