"""What an entry of the lists says."""

from __future__ import annotations

from typing import NamedTuple


class Guard(NamedTuple):
    """file and old: where it is; new: the text without it; tests: what pytest is given, from the root."""

    file: str
    old: str
    new: str
    tests: str
