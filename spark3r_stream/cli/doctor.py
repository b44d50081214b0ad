"""`spark3r doctor`: what works on this machine, what does not, and what to install."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from spark3r_stream.plain_text import cleaned
from spark3r_stream.viewer.availability import DEBIAN_PACKAGES


@dataclass(frozen=True)
class Finding:
    """One line: required parts that are missing make the exit code 1, optional ones do not."""

    name: str
    ok: bool
    detail: str
    required: bool = True


def doctor_command() -> int:
    """0 when everything the base and engine need is there."""
    console = Console(soft_wrap=True)
    findings = [check() for check in CHECKS]
    for finding in findings:
        word, colour = (
            ("ok", "green") if finding.ok else ("missing", "red") if finding.required else ("optional", "yellow")
        )
        console.print(f"[{colour}]{word:<8}[/]  {finding.name}: {escape(cleaned(finding.detail))}", highlight=False)
    return int(any(not finding.ok and finding.required for finding in findings))


def _python() -> Finding:
    version = sys.version_info
    return Finding(
        "Python", version >= (3, 10), f"{version.major}.{version.minor}.{version.micro}, {os.cpu_count()} cores"
    )


def _package(name: str, extra: str) -> Callable[[], Finding]:
    def check() -> Finding:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            return Finding(name, False, f"{error}; pip install 'spark3r-stream{extra}'")
        return Finding(name, True, str(getattr(module, "__version__", "installed")))

    return check


def _torch() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("torch", False, "not installed; pip install 'spark3r-stream[engine]' (the CPU build is enough)")
    from spark3r_core.models.processor import cpu_has_bfloat16

    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device: networks run on the CPU"
    bf16 = "bfloat16" if cpu_has_bfloat16() else "no fast bfloat16: float32 is used"
    return Finding("torch", True, f"{torch.__version__}; {cuda}; {bf16}; {torch.get_num_threads()} threads")


def _codecs() -> Finding:
    try:
        import av
    except ImportError:
        return Finding("video decoding", False, "PyAV is not installed; pip install 'spark3r-stream[engine]'")
    wanted = ["h264", "hevc", "av1", "vp9", "mjpeg"]
    lacking = [name for name in wanted if name not in av.codecs_available]
    return Finding(
        "video decoding",
        not lacking,
        f"PyAV {av.__version__}; "
        + (f"no decoder for {', '.join(lacking)}" if lacking else "decoders for " + ", ".join(wanted)),
    )


def _cameras() -> Finding:
    from spark3r_stream.sources.camera import list_cameras

    found = list_cameras()
    return Finding("cameras", bool(found), ", ".join(c.uri for c in found) or "none found", required=False)


def _bundled() -> Finding:
    try:
        from spark3r_core.models.registry import load_model

        load_model("bundled")
    except ModuleNotFoundError as error:
        return Finding("bundled network", False, f"needs {error.name}")
    except Exception as error:  # a broken installation may fail in any way, and this command must say how
        return Finding("bundled network", False, f"{type(error).__name__}: {error}; install the package again")
    return Finding("bundled network", True, "loads, checksum right")


def _open3d() -> Finding:
    try:
        importlib.import_module("open3d")
    except ImportError as error:
        return Finding(
            "viewer (open3d)",
            False,
            f"{error}; pip install 'spark3r-stream[view]'; Debian: apt-get install {DEBIAN_PACKAGES}",
            required=False,
        )
    except OSError as error:
        return Finding("viewer (open3d)", False, f"{error}; Debian: apt-get install {DEBIAN_PACKAGES}", required=False)
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return Finding(
        "viewer (open3d)", True, f"display {display}" if display else "no display: --offscreen only", required=False
    )


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    return Finding("disk", free > 2**30, f"{free / 2**30:.1f} GiB free here", required=False)


CHECKS: list[Callable[[], Finding]] = [
    _python,
    *(_package(name, "") for name in ("numpy", "zmq", "google.protobuf", "mcap", "foxglove_schemas_protobuf")),
    *(_package(name, "[engine]") for name in ("cv2", "PIL", "safetensors")),
    _torch,
    _codecs,
    _bundled,
    _cameras,
    _open3d,
    _disk,
]
