"""Depth from several views of a rendered world, from a base that is as wrong as a network's."""

import cv2
import numpy as np
import pytest
import torch

from spark3r_core.depth.consistency import Neighbour
from spark3r_core.depth.several_views import Surface, checked, refine
from spark3r_core.depth.views import View
from spark3r_core.geometry import se3
from spark3r_core.synthetic.sequence import SyntheticSequence

HW = (96, 128)
FRAMES = (0, 10, 20, 30, 40)
KEY = 20


@pytest.fixture(scope="module")
def world() -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Grey picture, true depth and world_from_camera by frame."""
    sequence = SyntheticSequence(100_021, 41, "handheld", HW, world_kind="room")
    found = {}
    for index in FRAMES:
        image, depth, pose, _ = sequence.frame(index)
        found[index] = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), depth, pose)
    found[-1] = (sequence.intrinsics, None, None)
    return found


def wrong(depth: np.ndarray) -> np.ndarray:
    """Blurred over edges, too near on the left and too far on the right."""
    slope = np.exp(np.linspace(-0.15, 0.15, HW[1])) * np.exp(0.1 * np.sin(np.arange(HW[0]) / 12))[:, None]
    return np.asarray(cv2.GaussianBlur(depth, (0, 0), 4) * slope, np.float32)


def surface(world: dict, key: int, device: torch.device | None = None) -> Surface:
    grey, depth, pose = world[key]
    views = [
        View(world[other][0], world[-1][0], se3.compose(se3.invert(world[other][2]), pose))
        for other in FRAMES
        if other != key
    ]
    return refine(grey, world[-1][0], wrong(depth), views, device)


def error(depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs(depth / truth - 1)


def test_depth_is_much_better_than_its_base_and_confidence_knows_where(world: dict) -> None:
    truth = world[KEY][1]
    found = surface(world, KEY)
    before, after = error(wrong(truth), truth), error(found.depth, truth)
    assert after.mean() < 0.55 * before.mean()
    assert np.median(after) < 0.4 * np.median(before)
    sure = found.confidence > np.median(found.confidence)
    assert after[sure].mean() < 0.85 * after[~sure].mean()
    assert found.confidence.min() >= 0
    assert found.confidence.max() <= 1


def test_other_keyframes_make_it_surer_and_no_worse(world: dict) -> None:
    alone, other = surface(world, KEY), surface(world, 30)
    key_pose, pose = world[KEY][2], world[30][2]
    seen = Neighbour(other.depth, other.matched, world[-1][0], se3.compose(se3.invert(pose), key_pose))
    together = checked(alone, world[KEY][0], world[-1][0], [seen])
    truth = world[KEY][1]
    assert error(together.depth, truth).mean() <= 1.01 * error(alone.depth, truth).mean()
    right, off = error(together.depth, truth) < 0.03, error(together.depth, truth) > 0.1
    assert together.confidence[right].mean() > together.confidence[off].mean() + 0.05
    assert together.confidence.mean() > alone.confidence.mean()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_torch_finds_the_same_surface(world: dict, device: str) -> None:
    found, other = surface(world, KEY), surface(world, KEY, torch.device(device))
    apart = np.abs(np.log(other.depth / found.depth))
    assert np.median(apart) < 0.002
    assert (apart > 0.02).mean() < 0.1
    truth = world[KEY][1]
    assert abs(error(other.depth, truth).mean() - error(found.depth, truth).mean()) < 0.003
    assert np.abs(other.confidence - found.confidence).mean() < 0.03


def test_equal_input_gives_equal_bytes(world: dict) -> None:
    first, second = surface(world, KEY), surface(world, KEY)
    assert first.depth.tobytes() == second.depth.tobytes()
    assert first.confidence.tobytes() == second.confidence.tobytes()


def test_without_views_the_base_stays_and_nothing_is_sure(world: dict) -> None:
    grey, depth, _ = world[KEY]
    found = refine(grey, world[-1][0], wrong(depth), [])
    assert (found.depth == wrong(depth)).all()
    assert found.confidence.max() < 0.5


def test_without_narrow_sweeps_it_is_the_same_at_half_of_the_size() -> None:
    sequence = SyntheticSequence(100_021, 41, "handheld", (192, 256), world_kind="room")
    views, (image, depth, key_pose, camera) = [], sequence.frame(KEY)
    for index in (0, 10, 30):
        other, _, pose, _ = sequence.frame(index)
        camera_from_key = se3.compose(se3.invert(pose), key_pose)
        views.append(View(cv2.cvtColor(other, cv2.COLOR_RGB2GRAY), camera, camera_from_key))
    base = np.asarray(cv2.GaussianBlur(depth, (0, 0), 4), np.float32)
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    whole, coarse = (refine(grey, camera, base, views, coarse=is_coarse) for is_coarse in (False, True))
    assert whole.depth.shape == (192, 256)
    assert {array.shape for array in vars(coarse).values()} == {HW}
    half = cv2.resize(whole.depth, HW[::-1], interpolation=cv2.INTER_AREA)
    assert np.median(np.abs(np.log(half / coarse.depth))) < 0.02
