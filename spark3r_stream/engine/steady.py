"""What a program that runs for hours with even latency sets for its whole process. Libraries leave these alone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3), glibc
_KEPT_BYTES = 1 << 30
_LARGEST_MMAP_THRESHOLD = 32 << 20  # what glibc accepts on every 64-bit machine


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the next window, up to 1 GiB, instead of handing it back to the kernel.

    Each window allocates and frees the same large maps, and the kernel clears every page of fresh memory: a third of
    the time of the dense head. The process stays as large as its largest window. Returns whether it was done; other C
    libraries are left as they are. Concerns the whole process, so it is for programs to call, not for libraries.
    """
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32:
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


@contextlib.contextmanager
def long_lived_objects() -> Iterator[None]:
    """Within it, the garbage collector does not look again at what exists already.

    After torch is imported that is some hundred thousand objects, and every full collection in mid-stream stops all of
    Python's threads for as long as it takes to visit them. They are collected again afterwards.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
