"""Where a recording goes: never over its source, never over a file that is no recording, and beside it at first.

The recording is written under a name of its own in the same folder and takes its final name with the first published
message. A typo in a URL or a camera that is not there leaves yesterday's recording as it was.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from spark3r_stream.errors import RecordingError
from spark3r_stream.files import open_new, why_not_replaced

MAGIC = b"\x89MCAP0\r\n"


def check_target(path: Path, overwrite: bool) -> None:
    """Raises RecordingError if recording to `path` would destroy something. overwrite: an older recording may go."""
    older = None if overwrite else "it is an older recording; --overwrite replaces it, or choose another name"
    why = why_not_replaced(path, "recording", len(MAGIC), lambda head: head == MAGIC, older=older)
    if why is not None:
        raise RecordingError(f"cannot record to {path}: {why}")


def check_apart_from_source(path: Path, source: Path, option: str = "--record") -> None:
    """Raises RecordingError if `path` is the file that is read, by whatever name, or one of a folder that is read.

    source: may be missing, which is for others to complain about. option: that named `path`.
    """
    with contextlib.suppress(OSError, ValueError):
        if source.is_dir():
            if path.exists() and source.resolve() in path.resolve().parents:
                raise RecordingError(f"{option} {path} is a file of the folder that is read; choose another name")
        elif path.exists() and path.samefile(source):
            raise RecordingError(f"{option} {path} is the file that is read; choose another name")


class RecordingTarget:
    """A file without a buffer (after a failed write nothing is left to fail again) that takes its name at `take_name`.

    Raises RecordingError as `check_target` does, OSError if the folder cannot be written.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        check_target(path, overwrite)
        self._path = path
        self._overwrite = overwrite
        self._part: Path | None = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        self._raw = open_new(self._part)
        self._position = 0

    def take_name(self) -> None:
        """Become the file of that name; further calls do nothing. Raises as the constructor does."""
        if self._part is not None:
            check_target(self._path, self._overwrite)  # it may have come since
            self._part.replace(self._path)
            self._part = None

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            written = self._raw.write(view)
            self._position += written
            view = view[written:]
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close the file, and remove it if it never took its name."""
        with contextlib.suppress(OSError):
            self._raw.close()
        if self._part is not None:
            with contextlib.suppress(OSError):
                self._part.unlink()
