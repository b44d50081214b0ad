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


def _known(find: Callable[[], str]) -> Path | None:
    """Without a home folder there is an error, or, in older versions, a name with ~."""
    try:
        folder = find()
    except RuntimeError:
        return None
    return Path(folder) if os.path.isabs(folder) else None
