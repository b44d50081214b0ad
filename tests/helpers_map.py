"""A small map of the rendered orbit, with pictures, tracks and edges: what map files and exports are tested on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.stream.joined_tracks import join_tracks
from spark3r_core.stream.kept_picture import encoded
from spark3r_core.stream.keyframe_map import KeyframeMap, TrackedEdge
from spark3r_stream.map_file.saved_map import MapFacts
from tests.core.stream import orbit
from tests.core.stream.test_camera_sizes_and_map import keyframe

FOCAL = float(orbit.INTRINSICS[0, 0])
FACTS = MapFacts("synthetic:room?seed=3", "synthetic", 10.0, 7_000_000_000, "source", "bundled", "0.1.0")
IDS = (0, 8, 16, 24)


def edge(first: int, second: int, **changes: object) -> TrackedEdge:
    pose = se3.compose(se3.invert(orbit.pose(second)), orbit.pose(first))
    return replace(TrackedEdge(first, second, pose, np.diag([1e4] * 3 + [1e5] * 3)), **changes)


@cache
def _orbit_map(ids: tuple[int, ...]) -> KeyframeMap:
    world = KeyframeMap(
        {index: replace(keyframe(index), picture=encoded(orbit.picture(index))) for index in ids},
        focal=FOCAL,
        focal_std=0.013,
        settled_focal=FOCAL * 1.01,
        network_focals=[FOCAL * 0.9, FOCAL * 1.1],
        picture_hw=orbit.HW,
    )
    for place, index in enumerate(ids):
        join_tracks(world, index, ids[:place], orbit.HW)
        if place:
            world.edges.append(edge(ids[place - 1], index))
    return world


def orbit_map(ids: tuple[int, ...] = IDS) -> KeyframeMap:
    """Exact poses and depth; a draft of its own."""
    return _orbit_map(ids).draft()
