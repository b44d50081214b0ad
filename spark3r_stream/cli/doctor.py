"""`spark3r doctor`: what works on this machine, what does not, and what to install, part by part."""

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
    """One line: required parts that are missing make the exit code 1, optional ones do not."""

    name: str
    ok: bool
    detail: str
    required: bool = True


Check = Callable[[], Finding]


def doctor_command() -> int:
    """0 when all is there that the base needs, and the engine where it is installed."""
    console = Console(soft_wrap=True)
    # PyAV tells: a robot that only receives may well have torch and OpenCV for reasons of its own
    has_engine = importlib.util.find_spec("av") is not None
    code = 0
    for part, checks in PARTS.items():
        findings = [check() for check in checks]
        if part == ENGINE and not has_engine:
            findings = [replace(finding, required=False) for finding in findings]
        console.print(f"[bold]{part}[/]", highlight=False)
        for finding in findings:
            console.print(_line(finding), highlight=False)
        if part == ENGINE and not all(finding.ok for finding in findings):
            console.print(
                f"to reconstruct on this machine: {escape(INSTALL_ENGINE)}; to receive and record nothing is needed"
            )
        code |= int(any(not finding.ok and finding.required for finding in findings))
    return code


def _line(finding: Finding) -> str:
    word, colour = ("ok", "green") if finding.ok else ("missing", "red") if finding.required else ("optional", "yellow")
    return f"[{colour}]{word:<8}[/]  {finding.name}: {escape(cleaned(finding.detail))}"


def _python() -> Finding:
    version = sys.version_info
    return Finding(
        "Python", version >= (3, 11), f"{version.major}.{version.minor}.{version.micro}, {os.cpu_count()} cores"
    )


def _package(name: str, install: str) -> Check:
    def check() -> Finding:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: a shared library that the loader does not find
            return Finding(name, False, f"{error}; {install}")
        return Finding(name, True, str(getattr(module, "__version__", "installed")))

    return check


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    return Finding("disk", free > 2**30, f"{free / 2**30:.1f} GiB free here", required=False)


def _torch() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("torch", False, f"not installed; {INSTALL_ENGINE} (the CPU build is enough)")
    from spark3r_core.models.processor import cpu_has_bfloat16

    bf16 = "bfloat16" if cpu_has_bfloat16() else "no fast bfloat16: float32 is used"
    return Finding("torch", True, f"{torch.__version__}; {bf16}; {torch.get_num_threads()} threads")


def _codecs() -> Finding:
    try:
        import av
    except ImportError:
        return Finding("video decoding", False, f"PyAV is not installed; {INSTALL_ENGINE}")
    wanted = ["h264", "hevc", "av1", "vp9", "mjpeg"]
    lacking = [name for name in wanted if name not in av.codecs_available]
    return Finding(
        "video decoding",
        not lacking,
        f"PyAV {av.__version__}; "
        + (f"no decoder for {', '.join(lacking)}" if lacking else "decoders for " + ", ".join(wanted)),
    )


def _bundled() -> Finding:
    try:
        from spark3r_core.models.registry import load_model

        load_model("bundled")
    except ModuleNotFoundError as error:
        return Finding("bundled network", False, f"needs {error.name}")
    except Exception as error:  # a broken installation may fail in any way, and this command must say how
        return Finding("bundled network", False, f"{type(error).__name__}: {error}; install the package again")
    return Finding("bundled network", True, "loads, checksum right")


def _page() -> Finding:
    from spark3r_stream.viewer.web_server import serve_page

    try:
        with serve_page("spark3r doctor", port=0):
            return Finding("page (viser)", True, "is served", required=False)
    except StreamError as error:
        return Finding("page (viser)", False, str(error), required=False)


def _pixel() -> Finding:
    """A red cloud, drawn as `spark3r view --offscreen` draws, has to be seen."""
    name = "picture"
    try:
        import numpy as np

        from spark3r_stream.map.scene_map import SceneMap
        from spark3r_stream.viewer.offscreen import render_scene

        scene, corners = SceneMap(1000), np.mgrid[0:4, 0:4, 0:4].reshape(3, -1).T.astype(np.float32)
        scene.add_cloud(corners, np.full((len(corners), 3), (200, 0, 0), np.uint8), np.ones(len(corners), np.float32))
        red = int((render_scene(scene, (64, 48)) == (200, 0, 0)).all(-1).sum())
    except ModuleNotFoundError as error:
        return Finding(name, False, f"needs {error.name}; pip install 'spark3r-stream[view]'", required=False)
    except Exception as error:  # as with the network: it must say how
        return Finding(name, False, f"{type(error).__name__}: {error}; install the package again", required=False)
    return Finding(name, red > 0, f"{red} pixels of a test scene are drawn", required=False)


def _gpu() -> Finding:
    """One product, because a driver that is too old is there and computes nothing."""
    try:
        import torch
    except ImportError:
        return Finding("CUDA", False, "torch is not installed", required=False)
    if not torch.cuda.is_available():
        return Finding("CUDA", False, "no device: networks run on the CPU", required=False)
    try:
        one = torch.ones(8, 8, device="cuda")
        right = bool((one @ one == 8).all())
    except RuntimeError as error:
        return Finding("CUDA", False, str(error).splitlines()[0], required=False)
    free, total = torch.cuda.mem_get_info()
    device = torch.cuda.get_device_name()
    said = "computes" if right else "computes wrongly"
    return Finding(
        "CUDA", right, f"{device} {said}; {free / 2**30:.1f} of {total / 2**30:.1f} GiB free", required=False
    )


def _cameras() -> Finding:
    from spark3r_stream.sources.camera import list_cameras

    found = list_cameras()
    return Finding("cameras", bool(found), ", ".join(c.uri for c in found) or "none found", required=False)


ENGINE = "engine: reconstructs"
_BASE_PACKAGES = ("numpy", "zmq", "google.protobuf", "mcap", "foxglove_schemas_protobuf")
PARTS: dict[str, list[Check]] = {
    "base: subscribes, replays, records": [
        _python,
        *(_package(name, "pip install spark3r-stream") for name in _BASE_PACKAGES),
        _disk,
    ],
    ENGINE: [*(_package(name, INSTALL_ENGINE) for name in ("cv2", "PIL", "safetensors")), _torch, _codecs, _bundled],
    "viewer": [_page, _pixel],
    "GPU": [_gpu],
    "cameras": [_cameras],
}
