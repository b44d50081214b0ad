"""Aligning a window of a gauge-free model: exact cases, and a stream of pi3 in a gauge of its own choice."""

import numpy as np
import pytest
import torch

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.se3 import exp
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Decoded, Prediction
from spark3r_core.models.pi3 import Pi3
from spark3r_core.stream.session import StreamSession
from spark3r_core.stream.tie import align_window, thin_depth
from tests.core.models.released import tiny


def random_window(n: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], Sim3]:
    rng = np.random.default_rng(seed)
    poses = exp(rng.normal(0, 0.3, (n, 6)))
    depths = [rng.uniform(1, 5, (12, 16)) for _ in range(n)]
    gauge = exp(rng.normal(0, 1, 6))
    return poses, depths, Sim3(float(rng.uniform(0.3, 3)), gauge[:3, :3], gauge[:3, 3])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_consistent_window_is_brought_back_exactly(n: int) -> None:
    poses, depths, gauge = random_window(n)
    found = align_window(poses, gauge.apply_to_poses(poses), depths, [gauge.scale * d for d in depths])
    assert np.allclose(found.matrix, gauge.matrix, atol=1e-9)


def test_a_still_camera_has_a_scale_too() -> None:
    poses, depths, gauge = random_window(1)
    still = np.repeat(poses, 2, axis=0)
    found = align_window(still, gauge.apply_to_poses(still), depths * 2, [gauge.scale * d for d in depths * 2])
    assert np.allclose(found.matrix, gauge.matrix, atol=1e-9)


def test_depths_that_say_nothing_are_refused() -> None:
    poses, depths, _ = random_window(2)
    with pytest.raises(GeometryError, match="usable depth"):
        align_window(poses, poses, depths, [np.full_like(d, np.nan) for d in depths])


def test_thinning_keeps_small_maps_and_bounds_large_ones() -> None:
    assert thin_depth(np.zeros((12, 16))).shape == (12, 16)
    assert thin_depth(np.zeros((434, 574))).size < 3 * 4096


class FreeGauge(Pi3):
    """Every window comes in a random gauge, as a network that has none is free to answer."""

    generator: np.random.Generator

    def predict(self, decoded: Decoded, frames: list[int] | None = None) -> Prediction:  # type: ignore[override]
        prediction = super().predict(decoded, frames)
        twist, scale = self.generator.normal(0, 1, 6), float(self.generator.uniform(0.5, 2))
        motion = exp(twist)
        gauge = Sim3(scale, motion[:3, :3], motion[:3, 3])
        poses = gauge.apply_to_poses(prediction.world_from_camera.double().numpy())
        return Prediction(torch.tensor(poses), prediction.intrinsics, prediction.depth * scale, prediction.confidence)


def test_a_stream_does_not_depend_on_the_gauge_each_window_comes_in() -> None:
    model, fixture = tiny("pi3")
    free = FreeGauge(model.config)  # type: ignore[arg-type]
    free.load_state_dict(model.state_dict())
    free.eval()
    free.generator = np.random.default_rng(1)
    frames = torch.rand(7, *fixture.images.shape[2:], generator=torch.Generator().manual_seed(0))
    runs = []
    for candidate in (model, free):
        session = StreamSession(candidate, MemoryConfig(max_pages=6))
        runs.append([e for part in frames.split([2, 3, 1, 1]) for e in session.step(part).frames])
    # the first window is the map's gauge, so both runs are compared in that of their first frame
    for plain, moved in zip(*runs, strict=True):
        scale = np.median(runs[1][0].depth) / np.median(runs[0][0].depth)
        assert np.allclose(moved.depth, scale * plain.depth, rtol=1e-4)
        relative = [
            np.linalg.inv(run[0].world_from_camera) @ e.world_from_camera
            for run, e in zip(runs, (plain, moved), strict=True)
        ]
        assert np.allclose(relative[0][:3, :3], relative[1][:3, :3], atol=1e-4)
        assert np.allclose(relative[0][:3, 3] * scale, relative[1][:3, 3], atol=1e-3 * scale)
