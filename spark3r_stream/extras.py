"""Which extra of the package brings a library that is not installed: the base is a subscriber's and has few."""

from __future__ import annotations

EXTRA_OF = {
    "torch": "engine",
    "av": "engine",
    "safetensors": "engine",
    "cv2": "engine",
    "PIL": "engine",
    "psutil": "engine",
    "viser": "view",
    "open3d": "mesh",
    "huggingface_hub": "hub",
    "trimesh": "export",
    "laspy": "export",
    "lazrs": "export",
    "rosbags": "export",
    "rerun": "rerun",
    "foxglove": "foxglove",
    "matplotlib": "plot",
    "prometheus_client": "metrics",
    "ray": "fleet",
}


def advice(module: str | None) -> str | None:
    """The line that names the extra with `module` (a submodule's name will do); None if no extra brings it."""
    name = (module or "").partition(".")[0]
    if name not in EXTRA_OF:
        return None
    return f"{name} is not installed; pip install 'spark3r-stream[{EXTRA_OF[name]}]'"
