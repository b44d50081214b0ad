"""A few frame slots in memory that two processes share: a mapped file, created by the writer and unlinked by the reader
as soon as both have it open, so nothing stays behind whichever of them dies."""

from __future__ import annotations

import errno
import mmap
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

_PREFIX = "spark3r-frames-"


class FrameRing:
    """`slots` slots of `slot_bytes` bytes each. Which slot is whose is agreed over a pipe, not here."""

    def __init__(self, file_descriptor: int, path: Path, slots: int, slot_bytes: int) -> None:
        self.path = path
        self.slots = slots
        self.slot_bytes = slot_bytes
        try:
            self._map = mmap.mmap(file_descriptor, slots * slot_bytes)
        finally:
            os.close(file_descriptor)

    @staticmethod
    def create(slots: int, slot_bytes: int) -> FrameRing:
        """A new ring in memory (/dev/shm) where that exists and has room, else in the temporary folder."""
        folders = _folders()
        for folder in folders:
            descriptor, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=folder)
            try:
                _reserve(descriptor, slots * slot_bytes)
            except OSError as error:
                os.close(descriptor)
                os.unlink(name)
                if error.errno == errno.ENOSPC and folder != folders[-1]:
                    continue  # containers often have a small /dev/shm
                raise
            return FrameRing(descriptor, Path(name), slots, slot_bytes)
        raise OSError(errno.ENOENT, "no temporary folder")

    @staticmethod
    def attach(path: Path, slots: int, slot_bytes: int) -> FrameRing:
        """Open a ring made by another process. Raises OSError when it is gone or smaller than it should be."""
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        if os.fstat(descriptor).st_size < slots * slot_bytes:
            os.close(descriptor)
            raise OSError(errno.EINVAL, f"{path} is smaller than {slots} slots of {slot_bytes} bytes")
        return FrameRing(descriptor, path, slots, slot_bytes)

    def unlink(self) -> None:
        """Remove the name; both maps stay valid. (Windows refuses while the file is open: it is left to the system.)"""
        try:
            self.path.unlink(missing_ok=True)
        except PermissionError:
            if sys.platform != "win32":
                raise

    def write(self, slot: int, image: np.ndarray) -> None:
        """Copy `image` (H, W, 3) uint8 into `slot`."""
        target = np.frombuffer(self._map, np.uint8, image.size, slot * self.slot_bytes)
        target[:] = image.reshape(-1)

    def read(self, slot: int, height: int, width: int) -> np.ndarray:
        """A copy of the (height, width, 3) uint8 image in `slot`. Raises ValueError when that is more than a slot."""
        size = height * width * 3
        if not 0 <= slot < self.slots or min(height, width) < 1 or size > self.slot_bytes:
            raise ValueError(f"slot {slot} of {self.slots} cannot hold {width}x{height} in {self.slot_bytes} bytes")
        return np.frombuffer(self._map, np.uint8, size, slot * self.slot_bytes).reshape(height, width, 3).copy()

    def close(self) -> None:
        self._map.close()


def remove_rings_of(pid: int) -> None:
    """Remove what a killed process left between creating a ring and telling of it."""
    for folder in _folders():
        for path in Path(folder).glob(f"{_PREFIX}{pid}-*"):
            path.unlink(missing_ok=True)


def _folders() -> list[str]:
    return [folder for folder in ("/dev/shm", tempfile.gettempdir()) if os.path.isdir(folder)]


def _reserve(descriptor: int, size: int) -> None:
    """Claim the pages now: writing to a sparse file on a full /dev/shm would kill the process with SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
