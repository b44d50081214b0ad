"""Paths as users write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs


def expand_home(path: str | Path) -> Path:
    """`path` with a leading ~ or ~name replaced by that home folder.

    It stays as it is where something of that very name exists, where there is no such user, and where nobody knows the
    home folder: a container may run without HOME under a uid that no user has.
    """
    path = Path(path)
    if os.path.lexists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def cache_dir() -> Path | None:
    """Where this system keeps what can be fetched again ($XDG_CACHE_HOME/spark3r, ~/.cache/spark3r, …); None where
    nobody knows."""
    return _known(lambda: platformdirs.user_cache_dir("spark3r", appauthor=False))


def config_dir() -> Path | None:
    """Where this system keeps a user's settings ($XDG_CONFIG_HOME/spark3r, ~/.config/spark3r, …); None where nobody
    knows."""
    return _known(lambda: platformdirs.user_config_dir("spark3r", appauthor=False))


def former_cache_dir() -> Path | None:
    """Where that was in versions without platformdirs, on systems where it is elsewhere now (macOS); else None."""
    return _former("XDG_CACHE_HOME", "~/.cache", cache_dir())


def former_config_dir() -> Path | None:
    """As `former_cache_dir`, for a user's settings."""
    return _former("", "~/.config", config_dir())


def _former(variable: str, default: str, now: Path | None) -> Path | None:
    folder = expand_home(os.environ.get(variable) or default) / "spark3r"
    return folder if folder.is_absolute() and folder != now else None


def _known(find: Callable[[], str]) -> Path | None:
    """Without a home folder there is an error, or, in older versions, a name with ~."""
    try:
        folder = find()
    except RuntimeError:
        return None
    return Path(folder) if os.path.isabs(folder) else None
