"""Whether viser can be used here, and what to install when it cannot. Imports it for nobody who does not ask."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from spark3r_stream.errors import ViewerUnavailable

_ADVICE = "pip install 'spark3r-stream[view]'"


def require_installed() -> None:
    """Raise ViewerUnavailable if there is no viser at all. Takes no time: nothing is imported."""
    if importlib.util.find_spec("viser") is None:
        raise ViewerUnavailable(f"the viewer needs viser, which is not installed: {_ADVICE}")


def require_pictures() -> None:
    """Raise ViewerUnavailable if there is nothing to write a PNG with."""
    if importlib.util.find_spec("PIL") is None:
        raise ViewerUnavailable(f"a picture needs Pillow, which is not installed: {_ADVICE}")


def import_viser() -> ModuleType:
    """viser, or ViewerUnavailable saying what is wrong with it and how to get it."""
    require_installed()
    try:
        return importlib.import_module("viser")
    except (ImportError, OSError) as error:  # OSError: a shared library that the loader does not find
        raise ViewerUnavailable(f"viser cannot be loaded ({error}): {_ADVICE}") from error
