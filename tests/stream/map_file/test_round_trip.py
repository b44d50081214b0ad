"""A map written and read back: what is exact, how much is lost where something is rounded, and the same bytes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from spark3r_core.stream.adjustment import adjust
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_budget import without
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.layout import COUNTS, MAGIC, TENSORS
from spark3r_stream.map_file.packing import depth_unit, packed_depth, unpacked_depth
from spark3r_stream.map_file.reading import parsed_map, read_map
from spark3r_stream.map_file.writing import map_bytes, write_map
from tests.core.stream import orbit
from tests.helpers_map import FACTS, IDS, orbit_map


def written(world: KeyframeMap) -> KeyframeMap:
    return parsed_map(map_bytes(world, FACTS)).world


def observations(world: KeyframeMap) -> list[tuple[int, ...]]:
    track, keyframe, feature = world.tracks.seen_by(world.order, 2)
    _, number = np.unique(track, return_inverse=True)
    return sorted(zip(number.tolist(), keyframe.tolist(), feature.tolist(), strict=True))


def test_what_a_map_says_comes_back() -> None:
    world = orbit_map()
    world.keyframes[8] = world.keyframes[8].moved(orbit.pose(8), 1.25)
    saved = parsed_map(map_bytes(world, FACTS))
    back = saved.world
    assert saved.facts == FACTS
    assert back.order == list(IDS)
    for index in IDS:
        one, other = world.keyframes[index], back.keyframes[index]
        assert (other.frame_id, other.time_s, other.scale, other.picture) == (index, one.time_s, one.scale, one.picture)
        for name in ("world_from_camera", "depth_intrinsics", "picture_from_depth"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
        np.testing.assert_array_equal(other.features.places, one.features.places)
        np.testing.assert_array_equal(other.features.sizes, one.features.sizes)
        np.testing.assert_allclose(other.feature_depth, one.feature_depth, rtol=1e-6)
        assert (other.depth.dtype, other.confidence.dtype) == (np.float32, np.float32)
        np.testing.assert_allclose(other.depth, one.depth, rtol=5e-4)
        np.testing.assert_allclose(other.confidence, one.confidence, atol=5e-4)
    assert observations(back) == observations(world)
    assert back.matched == world.matched
    assert [(one.first, one.second) for one in back.edges] == [(0, 8), (8, 16), (16, 24)]
    for one, other in zip(world.edges, back.edges, strict=True):
        np.testing.assert_array_equal(other.second_from_first, one.second_from_first)
        np.testing.assert_array_equal(other.information, one.information)
    for name in ("focal", "focal_std", "settled_focal", "given_camera", "network_focals", "picture_hw"):
        assert getattr(back, name) == getattr(world, name), name


def test_what_is_not_known_comes_back_as_that() -> None:
    world = orbit_map((0, 8))
    depth, sight = world.keyframes[8].depth.copy(), world.keyframes[8].feature_depth.copy()
    depth[0, :3] = (np.nan, np.inf, -1.0)
    sight[:2] = (np.nan, np.inf)
    camera = np.array([[200.0, 0, 95], [0, 201.0, 71], [0, 0, 1]])
    world.keyframes[8] = replace(world.keyframes[8], depth=depth, feature_depth=sight, picture=b"")
    world.focal_std, world.given_camera = math.inf, camera
    back = written(world)
    assert back.focal_std == math.inf
    np.testing.assert_array_equal(back.given_camera, camera)
    assert back.keyframes[8].depth[0, :3].tolist() == [0, 0, 0]
    assert np.isnan(back.keyframes[8].feature_depth[:2]).all()
    assert back.keyframes[8].picture == b""


def test_a_map_of_one_keyframe_and_no_features() -> None:
    world = orbit_map((0,))
    one = world.keyframes[0]
    none = replace(
        one.features,
        places=one.features.places[:0],
        histograms=one.features.histograms[:0],
        sizes=one.features.sizes[:0],
    )
    world.keyframes[0] = replace(one, features=none, feature_depth=np.zeros(0))
    back = written(world)
    assert (back.order, len(back.keyframes[0].features), len(back.tracks)) == ([0], 0, 0)


def test_the_same_map_is_the_same_bytes_and_reading_changes_nothing() -> None:
    data = map_bytes(orbit_map(), FACTS)
    assert map_bytes(orbit_map(), FACTS) == data
    saved = parsed_map(data)
    assert map_bytes(saved.world, saved.facts) == data


def test_any_reader_of_safetensors_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "room.s3rmap"
    assert write_map(path, orbit_map(), FACTS, overwrite=False) == path.stat().st_size
    with safe_open(path, "np") as file:
        assert set(file.keys()) == set(TENSORS)
        header = json.loads(file.metadata()[MAGIC])
        assert file.get_tensor("keyframe.frame_id").tolist() == list(IDS)
        assert file.get_tensor("feature.histogram").dtype == np.uint8
    assert header["version"] == "2.0"
    assert header["counts"]["keyframes"] == len(IDS)
    assert read_map(path).world.order == list(IDS)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 3e7])
def test_depth_of_any_unit_loses_a_two_thousandth_at_most(unit: float) -> None:
    rng = np.random.default_rng(0)
    depth = (unit * np.exp(rng.uniform(np.log(0.01), np.log(100), (40, 50)))).astype(np.float32)
    step = depth_unit(depth)
    assert step <= float(np.median(depth)) < 2 * step
    np.testing.assert_allclose(unpacked_depth(packed_depth(depth, step), step), depth, rtol=2**-11)
    assert depth_unit(np.zeros((2, 2), np.float32)) == 1.0


def test_features_are_the_same_bytes() -> None:
    world = orbit_map()
    back = written(world)
    for frame_id in IDS:
        before, after = world.keyframes[frame_id].features, back.keyframes[frame_id].features
        np.testing.assert_array_equal(after.histograms, before.histograms)
        np.testing.assert_array_equal(after.places, before.places)
    np.testing.assert_allclose(np.linalg.norm(back.keyframes[0].features.descriptors, axis=1), 1, atol=1e-5)


def test_a_map_that_was_read_goes_on_as_one() -> None:
    """It is adjusted, drafted and thinned like the one that was written."""
    back = written(orbit_map())
    off = back.keyframes[24].world_from_camera.copy()
    off[0, 3] += 0.05
    back.keyframes[24] = back.keyframes[24].moved(off, 1.0)
    found = adjust(back, IDS, {0, 8}, orbit.HW, focal_is_known=True)
    assert found.verdict.accepted
    assert (
        orbit.error(found.map.keyframes[24].world_from_camera, orbit.pose(24))[1]
        < 0.5 * orbit.error(off, orbit.pose(24))[1]
    )
    assert without(back, [8]).order == [0, 16, 24]


def test_what_cannot_be_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "room.s3rmap"
    with pytest.raises(MapFileError, match="no keyframes"):
        write_map(path, KeyframeMap(), FACTS, overwrite=False)
    far = orbit_map((0, 8))
    far.keyframes[8] = far.keyframes[8].moved(far.keyframes[8].world_from_camera, 1e12)
    with pytest.raises(MapFileError, match="scale holds what no map does"):
        write_map(path, far, FACTS, overwrite=False)
    monkeypatch.setattr("spark3r_stream.map_file.writing.MAX_BYTES", 1_100_000)
    with pytest.raises(MapFileError, match="a smaller --map-memory"):
        write_map(path, orbit_map(), FACTS, overwrite=False)
    monkeypatch.setitem(COUNTS, "features", 10)
    with pytest.raises(MapFileError, match="features; a file holds 10"):
        write_map(path, orbit_map(), FACTS, overwrite=False)
    assert list(tmp_path.iterdir()) == []
