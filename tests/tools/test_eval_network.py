"""The measure of the network alone: which frames it is shown, and that its numbers are what they are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.registry import load_model
from spark3r_core.stream.camera_sizes import CameraSizes, focal_of
from spark3r_core.stream.session import StreamSession
from tools.eval_network import main, real_keyframes
from tools.evaluation.alone import Keyframes, choose, medians, run_alone, world_keyframes


def sliding_pictures(count: int, pixels: int) -> list[np.ndarray]:
    """A picture that moves sideways by so many of its 320 pixels per frame."""
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 255, (24, 160, 3), np.uint8), (1600, 240), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(wide[:, i * pixels : i * pixels + 320]) for i in range(count)]


def test_keyframes_follow_the_motion_in_the_picture() -> None:
    chosen = choose(sliding_pictures(40, 8))
    gaps = np.diff(list(chosen))
    assert next(iter(chosen)) == 0
    assert np.all((gaps >= 6) & (gaps <= 10))  # a fifth of 320 pixels is 8 frames
    assert list(choose(sliding_pictures(40, 0))) == [0]
    assert set(choose(sliding_pictures(40, 0), also=[7, 30])) == {0, 7, 30}
    assert len(choose(sliding_pictures(40, 8), most=2)) == 2


def test_numbers_are_those_of_the_network_against_the_truth() -> None:
    model = load_model("bundled", device="cpu", dtype=torch.float32)
    (world,) = world_keyframes([105_000], 2, as_before=True)
    sizes = CameraSizes.fit(world.pictures[0].shape[:2], model.facts, None)
    session = StreamSession(model, MemoryConfig(max_new_frames=1), refine=False, tied=True)
    told = [
        session.step(sizes.for_network(picture)[0].transpose(2, 0, 1)[None], [index]).frames[0]
        for index, picture in enumerate(world.pictures)
    ]
    own = {index: estimate.depth.astype(np.float64) * (1 + index) for index, estimate in enumerate(told)}
    row = run_alone(model, replace(world, depth=own))
    assert row["abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert row["abs_rel_one_scale"] > 0.2  # the second was scaled by two
    focal = float(np.median([focal_of(estimate.intrinsics) for estimate in told]))
    assert row["focal"] == pytest.approx(abs(focal / world.camera.fx - 1), abs=1e-6)
    true = run_alone(model, world)
    assert 0.005 < true["abs_rel"] < 1.5
    assert -2 < true["ordered"] <= 1
    assert medians([true, {"fov": 0.0}])["fov"] == pytest.approx(true["fov"] / 2, abs=1e-4)


def test_worlds_come_in_every_shape_and_their_truth_fits() -> None:
    worlds = list(world_keyframes(range(105_000, 105_004), 2, as_before=False))
    assert {one.pictures[0].shape[:2] for one in worlds} == {(144, 192), (120, 216), (96, 312), (192, 144)}
    for one in worlds:
        assert isinstance(one, Keyframes)
        assert set(one.depth) == {0, 1}
        assert one.depth[0].shape == one.pictures[0].shape[:2] == (one.camera.height, one.camera.width)


def test_a_folder_without_a_known_camera_is_left_out(tmp_path: Path) -> None:
    assert real_keyframes(tmp_path) is None
    (tmp_path / "intrinsics.json").write_text(json.dumps({"width": 4, "height": 3, "fx": None}))
    assert real_keyframes(tmp_path) is None


def test_unknown_weights_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runs/none.pt"])
    assert "there is no file runs/none.pt" in capsys.readouterr().err
