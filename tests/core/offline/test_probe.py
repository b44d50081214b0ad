from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from spark3r_core.errors import ImageError, Spark3rError
from spark3r_core.geometry import Sim3
from spark3r_core.offline.probe import Geometry, SensitivityTable, point_error, probe_factors, probe_sensitivity
from spark3r_core.offline.reconstruct import reconstruct
from spark3r_core.tokens import Reduction
from tests.core.attention.tiny_da3 import images, tiny_da3


def table(**changes) -> SensitivityTable:
    fields = {
        "model_name": "toy",
        "frames": (40,),
        "base_factor": 5,
        "raised_factor": 40,
        "threshold": 1.05,
        "compared_with": "dense",
        "base_error": 2.0,
        "errors": (2.0, 2.09, 2.11, 4.0),
    }
    return SensitivityTable(**(fields | changes))


def test_factors_are_the_published_ones_and_shrink_with_the_stream():
    assert probe_factors(1000) == (32, 256)
    assert probe_factors(256) == (32, 256)
    assert probe_factors(64) == (8, 64)
    assert probe_factors(16) == (2, 16)
    with pytest.raises(ImageError, match="at least 16 frames"):
        probe_factors(15)


def test_only_layers_above_the_threshold_are_sensitive():
    assert table().sensitive == (2, 3)
    assert table(threshold=1.04).sensitive == (1, 2, 3)
    assert table().reduction() == Reduction.spark3r().with_(sensitive=frozenset({2, 3}))


def test_saved_tables_come_back_and_other_files_do_not(tmp_path):
    path = tmp_path / "table.json"
    table().save(path)
    assert SensitivityTable.load(path) == table()
    assert json.loads(path.read_text())["sensitive"] == [2, 3]
    for content in ("{}", "not json", "[]"):
        path.write_text(content)
        with pytest.raises(Spark3rError, match="no sensitivity table"):
            SensitivityTable.load(path)
    with pytest.raises(Spark3rError, match="no sensitivity table"):
        SensitivityTable.load(tmp_path / "missing.json")


def geometry(seed: int = 0, frames: int = 3) -> Geometry:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, 3] = rng.normal(size=(frames, 3))
    camera = np.tile(np.array([[30.0, 0, 18], [0, 30, 12], [0, 0, 1]]), (frames, 1, 1))
    return Geometry(poses, camera, rng.uniform(1, 4, (frames, 24, 36)))


def test_point_error_ignores_the_gauge_and_pixels_without_depth():
    truth = geometry()
    assert point_error(truth, truth) < 1e-9
    rotation = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved_poses = Sim3(2.5, rotation, np.array([1.0, 2, 3])).apply_to_poses(truth.world_from_camera)
    assert point_error(Geometry(moved_poses, truth.intrinsics, truth.depth * 2.5), truth) < 1e-6
    sky = np.array(truth.depth)
    sky[:, :8] = np.inf
    assert point_error(truth, Geometry(truth.world_from_camera, truth.intrinsics, sky)) < 1e-9


def test_point_error_grows_with_wrong_depth_and_wrong_poses():
    truth = geometry()
    noise = np.random.default_rng(1).normal(size=truth.depth.shape)
    errors = [
        point_error(Geometry(truth.world_from_camera, truth.intrinsics, truth.depth + s * noise), truth)
        for s in (0.1, 0.3)
    ]
    assert 0 < errors[0] < errors[1]
    poses = np.array(truth.world_from_camera)
    poses[1, :3, 3] += 1.0
    assert point_error(Geometry(poses, truth.intrinsics, truth.depth), truth) > 0.05


def test_probe_finds_the_layer_that_needs_its_keys_and_the_one_that_does_not():
    """Three global layers: one adds nothing across frames (its output projection is zero), one counts for much."""
    model = tiny_da3()
    silent, loud = (model.model.backbone.pretrained.blocks[i].attn.proj for i in (3, 5))
    with torch.no_grad():
        silent.weight.zero_()
        silent.bias.zero_()
        loud.weight.mul_(8)
    model.name = "toy"
    progress: list[tuple[int, int]] = []
    streams = [images(16), images(17, seed=2)]
    found = probe_sensitivity(model, streams, progress=lambda *call: progress.append(call))
    assert found.compared_with == "dense"
    assert (found.frames, found.base_factor, found.raised_factor) == ((16, 17), 2, 16)
    assert progress == [(n, 8) for n in range(1, 9)]
    assert found.ratios[0] == 1.0
    assert 1 in found.sensitive
    assert 0 not in found.sensitive


def test_probe_against_ground_truth_measures_the_distance_to_it():
    model = tiny_da3()
    pixels = images(16)
    dense = reconstruct(model, pixels, Reduction.dense())
    truth = Geometry(dense.world_from_camera, dense.intrinsics, dense.depth)
    with_truth = probe_sensitivity(model, [pixels], [truth])
    assert with_truth.compared_with == "ground truth"
    np.testing.assert_allclose(with_truth.errors, probe_sensitivity(model, [pixels]).errors, rtol=1e-3)


def test_probe_refuses_what_it_cannot_probe():
    model = tiny_da3()
    with pytest.raises(ImageError, match="no stream"):
        probe_sensitivity(model, [])
    with pytest.raises(ImageError, match="at least 16"):
        probe_sensitivity(model, [images(3)])
    with pytest.raises(ValueError, match="ground truth of 0"):
        probe_sensitivity(model, [images(16)], [])
