"""What a publisher finds where it wants to bind, and keys that other users can write."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from spark3r_stream.errors import KeyFileError, PublishError
from spark3r_stream.pubsub.keys import ALLOWED_FILE, ServerSecurity, create_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper

posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX sockets and permissions")


def regular_file(path: Path) -> None:
    path.write_text("a thesis")


def link_to_a_file(path: Path) -> None:
    (path.parent / "elsewhere").write_text("a thesis")
    path.symlink_to(path.parent / "elsewhere")


def empty_folder(path: Path) -> None:
    path.mkdir()


@posix_only
@pytest.mark.parametrize("make", [regular_file, link_to_a_file, empty_folder])
@pytest.mark.parametrize("suffix", ["", ".snapshot"])
def test_what_is_no_socket_is_never_deleted(tmp_path: Path, make: Callable[[Path], None], suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    make(path)
    before = path.lstat()
    with pytest.raises(PublishError, match="is no socket"):
        Publisher(f"ipc://{tmp_path}/a", uuid.uuid4(), snapshot=SnapshotKeeper())
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)


@posix_only
def test_a_socket_left_behind_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "a"))
    assert (tmp_path / "a").exists()
    with Publisher(f"ipc://{tmp_path}/a", uuid.uuid4()) as publisher:
        assert publisher.endpoint.startswith("ipc://")


@posix_only
@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("name", ["", ALLOWED_FILE])
def test_keys_that_others_can_write_are_refused(tmp_path: Path, name: str, mode: int) -> None:
    folder = tmp_path / "keys"
    create_keys(folder)
    security = ServerSecurity.from_directory(folder)
    (folder / ALLOWED_FILE).write_text(f"{security.keys.public.decode()[::-1]} somebody\n")
    path = folder / name if name else folder
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(KeyFileError, match="can be written by other users"):
        ServerSecurity.from_directory(folder)


@posix_only
def test_a_list_that_others_can_write_meanwhile_admits_nobody(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    client = create_keys(tmp_path / "client").public
    security = ServerSecurity.from_directory(tmp_path / "keys")
    allowed = tmp_path / "keys" / ALLOWED_FILE
    allowed.write_text(client.decode() + "\n")
    assert security.admits(client)
    allowed.chmod(0o666)
    assert not security.admits(client)


@posix_only
def test_new_keys_pass_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        create_keys(tmp_path / "keys")
    finally:
        os.umask(before)
    ServerSecurity.from_directory(tmp_path / "keys")


@posix_only
def test_keys_are_not_made_where_others_can_write(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(KeyFileError, match="can be written by other users"):
        create_keys(tmp_path / "shared")
    assert not list((tmp_path / "shared").iterdir())
