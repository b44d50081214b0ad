"""Start, stop, freeze and kill the RTSP server of helpers_rtsp_server.py from a test."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
CHECK = (  # whether it can run: tests/system_packages.py
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0');"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
    "missing = [e for e in ('videotestsrc', 'x264enc', 'rtph264pay') if Gst.ElementFactory.find(e) is None];"
    "raise SystemExit(f'no GStreamer element {missing}' if missing else 0)"
)


class RtspServer:
    """A server process; `port` 0 takes a free port, which a restarted server can be given again."""

    USER, PASSWORD = "eve", "s3cr3t-w0rd"

    def __init__(self, port: int = 0, size: tuple[int, int] = (160, 120), fps: int = 15) -> None:
        script = Path(__file__).with_name("helpers_rtsp_server.py")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), str(port), str(size[0]), str(size[1]), str(fps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("port "):
            self.kill()
            raise RuntimeError(f"the RTSP server did not start on port {port}: {line!r}")
        self.port = int(line.split()[1])

    def url(self, path: str = "ball", userinfo: str = "") -> str:
        return f"rtsp://{userinfo}127.0.0.1:{self.port}/{path}"

    def freeze(self) -> None:
        """Connections stay open and nothing comes any more."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def switch_size(self, width: int, height: int) -> None:
        """Running streams go on in this size; later ones begin with it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"size {width} {height}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()
