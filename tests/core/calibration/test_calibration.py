"""Cameras from views of a board: numbers within their deviations, and views that say too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.calibration.board import Board
from spark3r_core.calibration.coverage import BoardView, Coverage
from spark3r_core.calibration.solve import calibrate
from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import read_camera
from spark3r_core.geometry.camera_writing import opencv_yaml
from tests.core.calibration.shown_board import BOARD, CAMERA, FISHEYE, SIZE_WH, Renderer, poses, view


def views_of(camera: Intrinsics, **where: float) -> list[BoardView]:
    found = [view(camera, pose, seed=number) for number, pose in enumerate(poses(camera, **where))]
    return [one for one in found if one is not None]


def covered(views: list[BoardView]) -> Coverage:
    coverage = Coverage(SIZE_WH)
    for one in views:
        coverage.add(one)
    return coverage


@pytest.mark.parametrize("camera", [CAMERA, FISHEYE], ids=["radial-tangential", "fisheye"])
def test_a_camera_is_found_within_its_deviations(camera: Intrinsics) -> None:
    views = views_of(camera) + views_of(camera, seed=1)
    found = calibrate(views, SIZE_WH, fisheye=camera.fisheye)
    assert abs(found.camera.fx / camera.fx - 1) < 0.005
    assert found.rms < 0.2
    truth = (camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion)
    values = (found.camera.fx, found.camera.fy, found.camera.cx, found.camera.cy, *found.camera.distortion)
    off = [abs(a - b) / sigma for a, b, sigma in zip(values, truth, found.deviations.values(), strict=True)]
    assert max(off) < 4, dict(zip(found.deviations, off, strict=True))
    assert np.mean(np.array(off) < 2) >= 0.8


def test_deviations_shrink_with_the_errors_of_corners() -> None:
    sigmas = []
    for noise in (0.05, 0.4):
        found = [view(CAMERA, pose, noise, number) for number, pose in enumerate(poses(CAMERA))]
        sigmas.append(calibrate([one for one in found if one is not None], SIZE_WH).deviations["fx"])
    assert 4 < sigmas[1] / sigmas[0] < 16


def test_a_view_that_contradicts_the_others_is_left_out() -> None:
    views = views_of(CAMERA)
    moved = np.random.default_rng(0).normal(0, 8, views[4].in_image.shape)
    views[4] = replace(views[4], in_image=views[4].in_image + moved)
    found = calibrate(views, SIZE_WH)
    assert 4 not in found.used
    assert len(found.used) == len(views) - 1
    assert abs(found.camera.fx / CAMERA.fx - 1) < 0.005


def test_views_that_contradict_each_other_are_refused() -> None:
    rng = np.random.default_rng(0)
    views = views_of(CAMERA)
    for number in range(len(views)):
        views[number] = replace(
            views[number], in_image=views[number].in_image + rng.normal(0, 8, (len(views[number].in_image), 2))
        )
    with pytest.raises(GeometryError, match="contradict"):
        calibrate(views, SIZE_WH)


def test_a_board_that_was_shown_well_leaves_nothing_missing() -> None:
    assert covered(views_of(CAMERA)).missing == []


@pytest.mark.parametrize(
    ("where", "missing"),
    [({"tilt_deg": 2.0}, "tilted, its right, left, lower, upper edge nearer"), ({"reach": 0.2}, "the board in the")],
)
def test_one_sided_views_are_not_enough(where: dict[str, float], missing: str) -> None:
    assert any(missing in one for one in covered(views_of(CAMERA.pinhole(), **where)).missing)


def test_few_views_are_not_enough_and_one_view_counts_once() -> None:
    one = views_of(CAMERA)[0]
    coverage = covered([one, one, replace(one, in_image=one.in_image + 1)])
    assert len(coverage.views) == 1
    assert "9 more views" in coverage.missing


def test_the_edge_that_is_nearer_is_named() -> None:
    """The board turned about y so that its right edge comes nearer, as OpenCV's axes have it."""
    from spark3r_core.geometry.rotation import exp_so3

    width, height = BOARD.size_mm
    for rotvec, edge in (
        ([0, 0.5, 0], "right"),
        ([0, -0.5, 0], "left"),
        ([-0.5, 0, 0], "lower"),
        ([0.5, 0, 0], "upper"),
    ):
        turn = exp_so3(rotvec)
        corner = {"right": [width, 0, 0], "left": [0, 0, 0], "lower": [0, height, 0], "upper": [0, 0, 0]}[edge]
        middle = turn @ np.array([width / 2, height / 2, 0])
        assert (turn @ corner)[2] < middle[2], "nearer indeed"
        shown = view(CAMERA, (turn, np.array([0, 0, 500.0]) - middle))
        assert covered([shown]).tilted == {"right": 0, "left": 0, "lower": 0, "upper": 0} | {edge: 1}


def test_a_drawn_board_is_found_where_it_is() -> None:
    pose = list(poses(CAMERA))[5]
    found = BOARD.find(Renderer(CAMERA)(pose))
    assert found is not None
    on_board, in_image = found
    turn, shift = pose
    assert len(on_board) > 20
    assert np.abs(in_image - CAMERA.project(on_board @ turn.T + shift)).mean() < 0.15
    assert BOARD.find(np.full((480, 640), 128, np.uint8)) is None


@pytest.mark.parametrize("words", ["", "8", "8x", "2x5", "8x99", "8x5:0", "8x5:9999", "axb"])
def test_a_board_that_is_none_is_refused(words: str) -> None:
    with pytest.raises(GeometryError, match="board"):
        Board.parse(words)


def test_a_board_is_read_from_words() -> None:
    assert Board.parse("9x6:25.5") == Board(9, 6, 25.5)
    assert Board.parse("8x5") == Board()


@pytest.mark.parametrize("camera", [CAMERA, FISHEYE, CAMERA.pinhole()], ids=["radial-tangential", "fisheye", "pinhole"])
def test_opencvs_yaml_reads_back_and_opencv_reads_it(tmp_path: Path, camera: Intrinsics) -> None:
    import cv2

    path = tmp_path / "camera.yaml"
    path.write_text(opencv_yaml(camera))
    back = read_camera(path)
    assert back == camera
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    assert storage.getNode("camera_matrix").mat()[0, 2] == camera.cx - 0.5
