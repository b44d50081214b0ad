"""The fast residuals against those written one pixel at a time, on rendered images at every level."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.keyframe import Keyframe
from spark3r_core.photometric.pyramid import grey_pyramid
from spark3r_core.photometric.residuals import linearise
from tests.core.photometric.scene import Room, camera, path, video
from tests.core.photometric.slow_reference import residual


@pytest.mark.parametrize("hw", [(72, 96), (61, 97)])
@pytest.mark.parametrize("level", [0, 1])
def test_every_point_agrees(hw: tuple[int, int], level: int) -> None:
    rng = np.random.default_rng(5)
    poses = path(3, step=3)
    images, depths = video(Room(), poses, hw)
    pyramid = grey_pyramid(images)
    key = Keyframe.of(poses[0], [one[0] for one in pyramid], torch.from_numpy(depths[0]).float(), camera(hw))
    points, frames = key.levels[level], pyramid[level][1:]
    from_key = se3.compose(se3.invert(poses[1:]), poses[0])
    from_key = se3.compose(se3.exp(0.03 * rng.normal(size=(2, 6))), from_key)
    brightness = np.array([[1.1, -0.02], [0.9, 0.05]])
    nodes, log_focal = 0.1 * rng.normal(size=depth_grid.NODES), -0.05
    parts = linearise(points, frames, *(torch.from_numpy(a).float() for a in (from_key, brightness, nodes)), log_focal)
    correction = points.basis.double().numpy() @ nodes
    seen = 0
    for frame in range(2):
        image = frames[frame].double().numpy()
        for i in range(0, len(points.depth), 3):
            plain = residual(
                points.rays[i].double().numpy(),
                float(points.depth[i]),
                float(points.intensity[i]),
                image,
                from_key[frame],
                *brightness[frame],
                float(correction[i]),
                points.focal_xy,
                points.centre_xy,
                log_focal,
            )
            assert bool(parts.visible[frame, i]) == (plain is not None)
            if plain is None:
                assert parts.weight[frame, i] == 0
                continue
            seen += 1
            assert float(parts.jacobian[frame, i, -1]) == pytest.approx(plain[0], abs=2e-5)
            assert float(parts.weight[frame, i]) == pytest.approx(plain[1], rel=5e-3)
    assert seen > 100
