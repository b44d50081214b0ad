"""Result files replace their own kind only: no link is followed, no input is replaced, nothing old passes for new."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark3r_stream.config import ConfigError
from spark3r_stream.files import open_new, write_whole
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.running.targets import check_picture
from tests.helpers_media import moving_images, write_video

SMALL = ["--weights", "random", "--size", "96"]
NAMES = ("trajectory.txt", "cloud.ply", "intrinsics.json", "stats.json", "preview.png")


def test_no_result_follows_a_link(tmp_path: Path, spark3r) -> None:
    video, out, elsewhere = write_video(tmp_path / "a.mp4", moving_images(3, 64, 48)), tmp_path / "out", tmp_path / "e"
    out.mkdir()
    elsewhere.mkdir()
    names = [*NAMES, *(f"{name}.part" for name in NAMES)]
    for name in names:
        (elsewhere / name).write_text("precious")
        (out / name).symlink_to(elsewhere / name)
    (elsewhere / "depth").mkdir()
    (elsewhere / "depth" / "000000.npz").write_text("precious")
    (out / "depth").symlink_to(elsewhere / "depth")
    assert spark3r("run", video, *SMALL, "--track", "off", "--out", out, "--save-depth") == 0
    assert {(elsewhere / name).read_text() for name in (*names, "depth/000000.npz")} == {"precious"}
    assert not any((out / name).is_symlink() for name in (*NAMES, "depth"))
    assert all((out / name).exists() for name in (*NAMES, "depth"))


def test_the_other_name_of_a_file_keeps_its_content(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("precious")
    os.link(path, other)
    with open_new(path) as file:
        file.write(b"new")
    write_whole(path, b"newer")
    assert (path.read_text(), other.read_text()) == ("newer", "precious")
    with pytest.raises(OSError, match="folder"):
        open_new(tmp_path)


def test_results_are_not_written_into_the_folder_that_is_read(tmp_path: Path, spark3r, capfd) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, image in enumerate(moving_images(2, 64, 48)):
        Image.fromarray(image).save(folder / f"{i}.png")
    (tmp_path / "link").symlink_to(folder)
    before = sorted(folder.iterdir())
    for out in (folder, folder / "out" / "deep", tmp_path / "link", f"{folder}/../frames/x"):
        for command in ("run", "reconstruct"):
            assert spark3r(command, folder, *SMALL, "--out", out) == 1
            assert "is inside of the folder that is read" in capfd.readouterr().err
    assert sorted(folder.iterdir()) == before
    assert spark3r("run", folder, *SMALL, "--track", "off", "--out", tmp_path / "out") == 0


def test_a_result_never_replaces_the_source(tmp_path: Path, spark3r, capfd) -> None:
    video = write_video(tmp_path / "a.mp4", moving_images(3, 64, 48)).rename(tmp_path / "preview.png")
    before = video.read_bytes()
    assert spark3r("run", video, *SMALL, "--track", "off", "--out", tmp_path) == 1
    assert "would replace" in capfd.readouterr().err
    assert video.read_bytes() == before


def test_depth_of_an_older_run_does_not_stay(tmp_path: Path) -> None:
    depth = tmp_path / "depth"
    depth.mkdir()
    np.savez(depth / "000007.npz", depth=np.zeros(3))
    ResultWriter(tmp_path)
    assert not depth.exists()
    depth.mkdir()
    (depth / "000007.npz").write_bytes(b"old")
    (depth / "notes.txt").write_text("mine")
    ResultWriter(tmp_path, save_depth=True)
    assert [path.name for path in depth.iterdir()] == ["notes.txt"]


def test_an_offscreen_picture_replaces_pictures_only(tmp_path: Path) -> None:
    document, picture = tmp_path / "thesis.docx", tmp_path / "a.png"
    document.write_text("years of work")
    Image.new("RGB", (2, 2)).save(picture)
    check_picture(picture, "tcp://127.0.0.1:5555")
    check_picture(tmp_path / "new.png", "tcp://127.0.0.1:5555")
    with pytest.raises(ConfigError, match="is no PNG"):
        check_picture(document, "tcp://127.0.0.1:5555")
    with pytest.raises(ConfigError, match="is what is read"):
        check_picture(document, str(document))
