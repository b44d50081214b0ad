"""What a process holds right now: memory, threads, children, open files."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import psutil


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
    """Raises psutil.NoSuchProcess when there is no such process."""
    process = psutil.Process(pid)
    children = process.children()
    return Usage(
        rss_bytes=process.memory_info().rss,
        threads=process.num_threads(),
        children=len(children),
        children_rss_bytes=sum(_rss_bytes(child) for child in children),
        files=process.num_fds(),
    )


def _rss_bytes(process: psutil.Process) -> int:
    """A child may end between listing and reading it."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
