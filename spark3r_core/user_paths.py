"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


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


def home() -> Path | None:
    """The user's home folder; None where nobody knows it."""
    try:
        return Path.home()
    except RuntimeError:
        return None
