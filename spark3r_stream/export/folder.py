"""The folder of an export: files of its own in a folder of its own; nothing else is ever replaced."""

from __future__ import annotations

from pathlib import Path

from spark3r_stream.errors import OutputError
from spark3r_stream.files import open_new, write_all


class ExportFolder:
    """A folder that is made if missing. Raises OutputError if it holds anything, unless `overwrite`: then files are
    replaced by their names, symbolic links never followed, and what else is there stays.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            is_empty = next(path.iterdir(), None) is None
        except OSError as error:
            raise OutputError(f"cannot make the folder {path}: {error.strerror}") from None
        if not is_empty and not overwrite:
            raise OutputError(f"the folder {path} is not empty; give another one, or --overwrite")

    def place(self, name: str) -> Path:
        """Where a file of this name (with folders, by /) goes; its folders are made. Raises OutputError."""
        path = self.path / name
        for folder in reversed(path.parents):
            if folder != self.path and self.path in folder.parents:
                if folder.is_symlink():
                    raise OutputError(f"cannot write {path}: {folder} is a symbolic link; remove it")
                try:
                    folder.mkdir(exist_ok=True)
                except OSError as error:
                    raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from None
        return path

    def write(self, name: str, data: bytes | str) -> None:
        """A whole file. Raises OutputError."""
        path = self.place(name)
        try:
            with open_new(path) as file:
                write_all(file, data.encode("utf-8") if isinstance(data, str) else data)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from None
