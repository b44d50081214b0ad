"""Streets and terraces: much to be seen from a small part that cameras keep to; older worlds stay what they were."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from spark3r_core.synthetic.paths import CLEARANCE, make_path
from spark3r_core.synthetic.render import render
from spark3r_core.synthetic.sequence import SyntheticSequence, intrinsics_from_fov
from spark3r_core.synthetic.world import make_worlds

SEEDS = range(4)
IMAGE_HW = (36, 48)


@pytest.mark.parametrize("kind", ["street", "terrace"])
def test_cameras_keep_to_their_part_and_see_far_beyond_it(kind: str) -> None:
    worlds = make_worlds(SEEDS, kinds=[kind] * len(SEEDS))
    farthest, skies = [], []
    for index in SEEDS:
        poses = make_path("handheld", 40, index, worlds, index, step=4.0)
        inside = worlds.walk_max[index, [0, 2]].numpy() - np.abs(poses[:, [0, 2], 3])
        assert inside.min() > CLEARANCE - 1e-3
        assert worlds.distance(index)(poses[:, :3, 3]).min() >= CLEARANCE
        alone = make_worlds([index], kinds=[kind])
        camera = torch.from_numpy(intrinsics_from_fov(80, IMAGE_HW)).float()[None, None].expand(1, 4, 3, 3)
        depth = render(alone, torch.from_numpy(poses[::10])[None], camera, IMAGE_HW)[1]
        solid = torch.isfinite(depth)
        farthest.append(float(depth[solid].max()))
        skies.append(float((~solid).float().mean()))
    assert np.median(farthest) > 3 * float(worlds.walk_max[:, [0, 2]].max(1).values.median())
    assert 0.02 < np.median(skies) < 0.8


def test_nothing_stands_around_where_a_camera_may_be() -> None:
    """Hills and houses are far enough away that free places are free: a third of the walkable ground at least."""
    for kind in ("street", "terrace"):
        worlds = make_worlds(SEEDS, kinds=[kind] * len(SEEDS))
        rng = np.random.default_rng(0)
        for index in SEEDS:
            low, high = worlds.walk_min[index].numpy(), worlds.walk_max[index].numpy()
            points = rng.uniform(low * [1, 0, 1], high * [1, 0, 1], (200, 3)) + [0, -1.5, 0]
            assert (worlds.distance(index)(points) > 0.2).mean() > 0.33, (kind, index)


def test_a_court_is_what_it_always_was() -> None:
    """Its trees and cars are shared with streets; a seed must go on giving the same world."""
    worlds = make_worlds([100_000, 7], kinds=["court", "court"])
    assert torch.equal(worlds.walk_min, worlds.room_min)
    assert torch.equal(worlds.walk_max, worlds.room_max)
    told = [worlds.centre, worlds.half, worlds.rotation, worlds.material]
    digest = hashlib.sha256(b"".join(np.round(part.numpy(), 3).astype(np.float32).tobytes() for part in told))
    assert digest.hexdigest()[:16] == "f70164eb94208fd8"


def test_a_street_is_made_from_its_seed_alone() -> None:
    first, again = (SyntheticSequence(5, 3, "handheld", IMAGE_HW, world_kind="street") for _ in range(2))
    np.testing.assert_array_equal(first.frame(2)[0], again.frame(2)[0])
