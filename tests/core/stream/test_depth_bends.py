"""By what depth is off: read off points that several keyframes see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.photometric import depth_grid
from spark3r_core.stream.depth_bends import depth_bends
from tests.core.stream import orbit
from tests.core.stream.test_adjustment import world_of


def test_points_say_by_what_each_keyframes_depth_is_off() -> None:
    """One keyframe's depth is a fifth too large, another's bends from left to right; poses are right."""
    world = world_of((0, 8, 16, 24))
    world.picture_hw = orbit.HW
    ramp = np.tile(np.linspace(-0.1, 0.1, depth_grid.COLUMNS), (depth_grid.ROWS, 1))
    wrong = {8: np.full_like(ramp, np.log(1.2)), 16: ramp}
    height, width = orbit.HW
    for frame_id, nodes in wrong.items():
        one = world.keyframes[frame_id]
        u, v = np.clip(one.features.places / [width, height], 0, 1).astype(float).T
        off = np.exp(depth_grid.weights_numpy(u, v) @ nodes.ravel())
        world.keyframes[frame_id] = replace(one, feature_depth=one.feature_depth * off)
    found = depth_bends(world, [0, 8, 16])
    assert set(found) == {0, 8, 16}, "those that were asked for"
    for frame_id, bend in found.items():
        inner = (slice(1, -1), slice(1, -1))  # where points are
        expected = -wrong.get(frame_id, np.zeros_like(ramp))
        assert np.abs(bend - expected)[inner].mean() < 0.03
        assert abs(np.median((bend - expected)[inner])) < 0.02
    assert depth_bends(world, [99]) == {}, "it has left the map"
