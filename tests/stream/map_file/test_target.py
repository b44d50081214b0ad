"""A map goes where it destroys nothing, and takes its name when it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.target import check_map_target
from spark3r_stream.map_file.writing import write_map
from tests.helpers_map import FACTS, orbit_map


def test_a_new_name_and_an_empty_file_are_taken(tmp_path: Path) -> None:
    for name in ("new.s3rmap", "empty.s3rmap"):
        path = tmp_path / name
        if name.startswith("empty"):
            path.touch()
        write_map(path, orbit_map((0, 8)), FACTS, overwrite=False)
        assert read_map(path).world.order == [0, 8]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.s3rmap", "new.s3rmap"]


def test_an_older_map_goes_only_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "room.s3rmap"
    write_map(path, orbit_map((0, 8)), FACTS, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(MapFileError, match="--overwrite replaces it"):
        write_map(path, orbit_map(), FACTS, overwrite=False)
    assert path.read_bytes() == before
    write_map(path, orbit_map(), FACTS, overwrite=True)
    assert len(read_map(path).world.order) == 4


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_map_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    film, link, folder = tmp_path / "film.mp4", tmp_path / "link.s3rmap", tmp_path / "folder"
    film.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    target = tmp_path / "target.s3rmap"
    write_map(target, orbit_map((0, 8)), FACTS, overwrite=False)
    link.symlink_to(target)
    folder.mkdir()
    kept = target.read_bytes(), film.read_bytes()
    for path, said in (
        (film, "is no map"),
        (link, "symbolic link"),
        (folder, "a folder"),
        (Path("/dev/null"), "a device"),
    ):
        with pytest.raises(MapFileError, match=said):
            check_map_target(path, overwrite)
        with pytest.raises(MapFileError, match=said):
            write_map(path, orbit_map((0, 8)), FACTS, overwrite=overwrite)
    assert (target.read_bytes(), film.read_bytes()) == kept
    with pytest.raises(MapFileError, match="cannot write"):
        write_map(tmp_path / "no" / "such" / "folder.s3rmap", orbit_map((0, 8)), FACTS, overwrite=overwrite)


def test_a_full_disk_leaves_the_older_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "room.s3rmap"
    write_map(path, orbit_map((0, 8)), FACTS, overwrite=False)
    before = path.read_bytes()
    from spark3r_stream.map_file import writing

    class Full:
        def __init__(self, path: Path) -> None:
            self.file = path.open("xb")

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            if self.file.tell() > 1000:
                raise OSError(28, "No space left on device")
            return self.file.write(data[:1000])

    monkeypatch.setattr(writing, "open_new", Full)
    with pytest.raises(MapFileError, match="No space left"):
        write_map(path, orbit_map(), FACTS, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "and no part of the new one"
