"""`spark3r doctor`: what works on this machine, what does not, and what to install."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from rich.console import Console
from rich.markup import escape

from spark3r_stream.errors import StreamError
from spark3r_stream.plain_text import cleaned

INSTALL_ENGINE = "pip install 'spark3r-stream[engine]'"


@dataclass(frozen=True)
class Finding:
    """One line: required parts that are missing make the exit code 1, optional ones do not.

    of_engine: needed to reconstruct, not to receive; required where the engine is installed.
    """

    name: str
    ok: bool
    detail: str
    required: bool = True
    of_engine: bool = False


def doctor_command() -> int:
    """0 when all is there that the base needs, and the engine where it is installed."""
    console = Console(soft_wrap=True)
    findings = [check() for check in CHECKS]
    # PyAV tells: a robot that only receives may well have torch and OpenCV for reasons of its own
    if importlib.util.find_spec("av") is None:
        findings = [replace(finding, required=finding.required and not finding.of_engine) for finding in findings]
    for finding in findings:
        word, colour = (
            ("ok", "green") if finding.ok else ("missing", "red") if finding.required else ("optional", "yellow")
        )
        console.print(f"[{colour}]{word:<8}[/]  {finding.name}: {escape(cleaned(finding.detail))}", highlight=False)
    if any(not finding.ok and finding.of_engine for finding in findings):
        console.print(
            f"to reconstruct on this machine: {escape(INSTALL_ENGINE)}; to receive and record nothing is needed"
        )
    return int(any(not finding.ok and finding.required for finding in findings))


def _python() -> Finding:
    version = sys.version_info
    return Finding(
        "Python", version >= (3, 11), f"{version.major}.{version.minor}.{version.micro}, {os.cpu_count()} cores"
    )


def _package(name: str, of_engine: bool) -> Callable[[], Finding]:
    def check() -> Finding:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: a shared library that the loader does not find
            install = INSTALL_ENGINE if of_engine else "pip install spark3r-stream"
            return Finding(name, False, f"{error}; {install}", of_engine=of_engine)
        return Finding(name, True, str(getattr(module, "__version__", "installed")), of_engine=of_engine)

    return check


def _torch() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("torch", False, f"not installed; {INSTALL_ENGINE} (the CPU build is enough)", of_engine=True)
    from spark3r_core.models.processor import cpu_has_bfloat16

    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device: networks run on the CPU"
    bf16 = "bfloat16" if cpu_has_bfloat16() else "no fast bfloat16: float32 is used"
    return Finding("torch", True, f"{torch.__version__}; {cuda}; {bf16}; {torch.get_num_threads()} threads")


def _codecs() -> Finding:
    try:
        import av
    except ImportError:
        return Finding("video decoding", False, f"PyAV is not installed; {INSTALL_ENGINE}", of_engine=True)
    wanted = ["h264", "hevc", "av1", "vp9", "mjpeg"]
    lacking = [name for name in wanted if name not in av.codecs_available]
    return Finding(
        "video decoding",
        not lacking,
        f"PyAV {av.__version__}; "
        + (f"no decoder for {', '.join(lacking)}" if lacking else "decoders for " + ", ".join(wanted)),
        of_engine=True,
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
        return Finding("bundled network", False, f"needs {error.name}", of_engine=True)
    except Exception as error:  # a broken installation may fail in any way, and this command must say how
        return Finding(
            "bundled network", False, f"{type(error).__name__}: {error}; install the package again", of_engine=True
        )
    return Finding("bundled network", True, "loads, checksum right", of_engine=True)


def _viewer() -> Finding:
    from spark3r_stream.viewer.web_server import serve_page

    try:
        with serve_page("spark3r doctor", port=0):
            return Finding("viewer (viser)", True, "serves its page", required=False)
    except StreamError as error:
        return Finding("viewer (viser)", False, str(error), required=False)


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    return Finding("disk", free > 2**30, f"{free / 2**30:.1f} GiB free here", required=False)


CHECKS: list[Callable[[], Finding]] = [
    _python,
    *(
        _package(name, of_engine=False)
        for name in ("numpy", "zmq", "google.protobuf", "mcap", "foxglove_schemas_protobuf")
    ),
    *(_package(name, of_engine=True) for name in ("cv2", "PIL", "safetensors")),
    _torch,
    _codecs,
    _bundled,
    _cameras,
    _viewer,
    _disk,
]
