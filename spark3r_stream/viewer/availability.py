"""Whether Open3D can be used here, and what to install when it cannot. Imports it for nobody who does not ask."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

from spark3r_stream.errors import ViewerUnavailable

# Open3D up to 0.19 draws with OpenGL, from 0.20 on with Vulkan; Mesa has a software driver for both.
DEBIAN_PACKAGES = "libusb-1.0-0 libgl1 libegl1 libgl1-mesa-dri libgomp1 libx11-6 libvulkan1 mesa-vulkan-drivers"
_ADVICE = f"pip install 'spark3r-stream[view]'; Debian: apt-get install {DEBIAN_PACKAGES}"


def require_installed() -> None:
    """Raise ViewerUnavailable if there is no Open3D at all. Takes no time: nothing is imported."""
    if importlib.util.find_spec("open3d") is None:
        raise ViewerUnavailable(f"the viewer needs Open3D, which is not installed: {_ADVICE}")


def require_display() -> None:
    """Raise ViewerUnavailable where a window has nowhere to go (Linux without X11 or Wayland)."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ViewerUnavailable("no display (DISPLAY and WAYLAND_DISPLAY are empty); use --offscreen FILE.png")


def import_open3d() -> ModuleType:
    """Open3D, or ViewerUnavailable saying which library is missing and how to get it."""
    require_installed()
    try:
        return importlib.import_module("open3d")
    except (ImportError, OSError) as error:  # OSError: a shared library that the loader does not find
        raise ViewerUnavailable(f"Open3D cannot be loaded ({error}): {_ADVICE}") from error


def rendering_failed(detail: str) -> ViewerUnavailable:
    """The error for a renderer that died: its driver's last words and the packages with a software driver."""
    return ViewerUnavailable(f"Open3D cannot render here ({detail}): Debian: apt-get install {DEBIAN_PACKAGES}")
