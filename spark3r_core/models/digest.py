"""sha256 of weights files, recorded beside them when they were downloaded and checked whenever they are loaded.

The record is what `sha256sum` writes, so `sha256sum -c model.safetensors.sha256` checks it too.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from spark3r_core.errors import CheckpointError

_BLOCK = 1 << 22


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes in hexadecimal; reads it once in blocks of 4 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def record_path(path: Path) -> Path:
    """`<file>.sha256`"""
    return path.with_name(f"{path.name}.sha256")


def write_record(path: Path, sha256: str) -> None:
    """Record what a file's sha256 must be from now on."""
    record_path(path).write_text(f"{sha256}  {path.name}\n", encoding="utf-8")


def recorded_sha256(path: Path) -> str | None:
    """What was recorded for this file; None without a record. CheckpointError when the record is no sha256."""
    record = record_path(path)
    if not record.is_file():
        return None
    found = record.read_text(encoding="utf-8", errors="replace").split()
    if not found or not re.fullmatch(r"[0-9a-f]{64}", found[0]):
        raise CheckpointError(f"{record} holds no sha256 (64 hexadecimal digits); delete it, or download again")
    return found[0]


def verify_record(path: Path) -> str | None:
    """The sha256 of a file that has a record and fits it; None for a file without a record (it is not read then).

    Raises CheckpointError naming both values when they differ.
    """
    expected = recorded_sha256(path)
    if expected is None:
        return None
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path} has sha256 {found}, but {record_path(path).name} recorded {expected} when it was downloaded;"
            " the file was damaged or replaced: delete both and download again"
        )
    return found
