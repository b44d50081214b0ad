"""What a process holds right now, from /proc (Linux): memory, threads, children, open files."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """rss_bytes: of the process itself. children_rss_bytes: of its children. files: open file descriptors."""

    rss_bytes: int
    threads: int
    children: int
    children_rss_bytes: int
    files: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def usage_of(pid: int) -> Usage:
    """Raises FileNotFoundError when there is no such process."""
    proc = Path(f"/proc/{pid}")
    threads = list((proc / "task").iterdir())
    children = {child for task in threads for child in _text(task / "children").split()}
    return Usage(
        rss_bytes=_rss_bytes(proc),
        threads=len(threads),
        children=len(children),
        children_rss_bytes=sum(_rss_bytes(Path(f"/proc/{child}")) for child in children),
        files=len(os.listdir(proc / "fd")),
    )


def _rss_bytes(proc: Path) -> int:
    fields = _text(proc / "statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _text(path: Path) -> str:
    """A thread or a child may end between listing and reading it."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
