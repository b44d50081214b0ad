"""The adaptive threshold, JSON and the splatting renderer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.camera_files import read_camera
from spark3r_stream.errors import OutputError
from spark3r_stream.outputs.confidence import AdaptiveThreshold
from spark3r_stream.outputs.intrinsics_json import write_intrinsics
from spark3r_stream.outputs.json_files import write_json
from spark3r_stream.outputs.splat import colour_depth, splat
from spark3r_stream.wire.messages import CameraView


def test_threshold_rejects_its_share_of_a_steady_stream() -> None:
    rng = np.random.default_rng(0)
    threshold = AdaptiveThreshold(quantile=0.3)
    shares = [threshold.keep(rng.beta(2, 5, 5000)).mean() for _ in range(20)]
    np.testing.assert_allclose(shares, 0.7, atol=0.03)


def test_a_bad_frame_contributes_little_and_a_new_scene_is_accepted() -> None:
    rng = np.random.default_rng(0)
    threshold = AdaptiveThreshold(quantile=0.25, half_life=10)
    for _ in range(30):
        threshold.keep(rng.uniform(0.7, 0.9, 2000))
    assert threshold.keep(rng.uniform(0.2, 0.4, 2000)).mean() < 0.1
    for _ in range(60):
        kept = threshold.keep(rng.uniform(0.2, 0.4, 2000)).mean()
    assert kept > 0.65


def test_threshold_of_constant_empty_and_invalid_confidence() -> None:
    threshold = AdaptiveThreshold(quantile=0.5)
    assert threshold.keep(np.zeros(0)).shape == (0,)
    assert threshold.keep(np.full(10, 0.9)).all()
    np.testing.assert_array_equal(threshold.keep([np.nan, 0.9, 1.0]), [False, True, True])
    assert AdaptiveThreshold(quantile=0.0).keep([1e-9, 0.5, 1 - 1e-12]).all()


def test_json_is_whole_and_strict(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    content = {"fps": 3.5, "drops": {"late": 2}, "none": None, "hw": (3, 4), "ok": True}
    write_json(path, content)
    assert json.loads(path.read_text()) == {**content, "hw": [3, 4]}
    before = path.read_text()
    for bad, message in (
        ({"a": {"b": [1.0, float("nan")]}}, r"a\.b\[1\] is nan"),
        ({"a": np.float64(1.0)}, "a is a float64"),
        ({"a": {3: 1}}, "key 3"),
        ({"a": {1, 2}}, "a is a set"),
    ):
        with pytest.raises(OutputError, match=message):
            write_json(path, bad)
    assert path.read_text() == before
    with pytest.raises(OutputError, match="No such file"):
        write_json(tmp_path / "missing" / "stats.json", {})


def test_intrinsics_can_be_given_back_to_the_program(tmp_path: Path) -> None:
    views = [
        CameraView(np.array([[f, 0, 320.0], [0, f + 1, 240.0], [0, 0, 1]]), 640, 480, focal_std=f / 1e5)
        for f in (500.0, 510, 900)
    ]
    views.insert(0, CameraView(np.diag([1.0, 1.0, 1.0]), 64, 48))
    write_intrinsics(tmp_path / "intrinsics.json", views)
    camera = read_camera(tmp_path / "intrinsics.json")
    assert (camera.fx, camera.fy, camera.width, camera.height) == (510.0, 511.0, 640, 480)
    assert not camera.is_distorted
    assert json.loads((tmp_path / "intrinsics.json").read_text())["focal_std"] == 0.009


def test_splat_draws_the_nearest_point_and_leaves_the_rest() -> None:
    background = np.full((6, 8, 3), 10, np.uint8)
    pixels = [[2.5, 3.5], [2.5, 3.5], [2.5, 3.5], [-50.0, 2.0], [7.9, 5.9]]
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [1, 2, 3]], np.uint8)
    image = splat(pixels, [0.5, 0.2, 0.9, 0.1, 0.1], colours, (8, 6), background, square=1)
    np.testing.assert_array_equal(image[3, 2], [0, 255, 0])
    np.testing.assert_array_equal(image[5, 7], [1, 2, 3])
    assert (image == 10).all(axis=2).sum() == 6 * 8 - 2


def test_splat_darkens_what_lies_behind_an_edge() -> None:
    columns, rows = np.meshgrid(np.arange(20) + 0.5, np.arange(10) + 0.5)
    depth = np.where(columns < 10, 0.2, 0.6)
    colours = np.full((200, 3), 200, np.uint8)
    image = splat(
        np.stack([columns.ravel(), rows.ravel()], -1),
        depth.ravel(),
        colours,
        (20, 10),
        np.zeros((10, 20, 3), np.uint8),
        square=1,
    )
    assert (image[:, 2:10] == 200).all()
    assert (image[:, 10] < 120).all()
    assert (image[:, 14:] == 200).all()


def test_depth_colours_are_brighter_when_nearer_and_black_when_invalid() -> None:
    depth = np.tile(np.linspace(1, 10, 50), (20, 1))
    depth[0, 0] = np.nan
    image = colour_depth(depth).astype(int).sum(-1)
    assert (np.diff(image[5]) <= 0).all()
    assert image[0, 0] == 0
    assert (colour_depth(np.full((3, 4), np.nan)) == 0).all()
    assert colour_depth(np.ones((3, 4))).shape == (3, 4, 3)
