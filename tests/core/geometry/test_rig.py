"""Cameras of one rig: where their maps lie among each other, and when that cannot be said; and the file of a rig."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.rig import at_same_times, fit_rig
from spark3r_core.geometry.rig_file import MAX_FILE_BYTES, read_rig
from spark3r_core.geometry.rotation import Array, exp_so3, rotation_angle

UNIT, OTHER_UNIT = 0.5, 1.7  # of the maps, per metre
FRONT, REAR = np.eye(4), np.asarray(se3.make_pose(exp_so3(np.array([0, np.pi, 0])), np.array([0.3, 0, -0.1])))


def body(turn: float, frames: int = 300) -> Array:
    """world_from_rig on a winding way of some metres, turning by so many radians in all."""
    t = np.linspace(0, 1, frames)
    rotation = exp_so3(np.stack([0.1 * turn * np.sin(7 * t), turn * t, 0 * t], 1))
    return np.asarray(se3.make_pose(rotation, np.stack([2 * np.sin(3 * t), 0.1 * np.cos(5 * t), 3 * t], 1)))


def tracked(way: Array, drift: float = 0.01) -> tuple[Array, Array]:
    """Both cameras as they were tracked, each in a map of its own; drift: metres at the end, a random walk."""
    rng = np.random.default_rng(3)
    elsewhere = np.asarray(se3.make_pose(exp_so3(np.array([0.3, 0.2, 0.1])), np.array([1.0, 2, 3])))
    first, second = way @ FRONT, elsewhere @ way @ REAR
    for poses, unit in ((first, UNIT), (second, OTHER_UNIT)):
        poses[:, :3, 3] += drift * rng.normal(size=(len(way), 3)).cumsum(0) / np.sqrt(len(way))
        poses[:, :3, 3] *= unit
    return first, second


def test_maps_of_cameras_that_see_nothing_in_common_are_joined() -> None:
    way = body(turn=1.0)
    first, second = tracked(way)
    found = fit_rig(first, second, FRONT, REAR)
    assert found is not None
    assert found.is_known
    placed = found.first_from_second.apply_to_points(second[:, :3, 3])
    assert np.linalg.norm(placed - UNIT * (way @ REAR)[:, :3, 3], axis=1).max() < 0.03 * UNIT
    assert found.first_from_second.scale == pytest.approx(UNIT / OTHER_UNIT, rel=0.01)
    assert abs(found.units_per_metre - UNIT) < 4 * found.std_units_per_metre
    assert found.units_per_metre == pytest.approx(UNIT, rel=0.1)


def test_some_frames_that_were_tracked_wrongly_are_outvoted() -> None:
    way = body(turn=1.0)
    first, second = tracked(way)
    second[100:130, :3, 3] += 2.0
    second[100:130, :3, :3] = second[100:130, :3, :3] @ exp_so3(np.array([0.5, 0, 0]))
    found = fit_rig(first, second, FRONT, REAR)
    assert found is not None
    assert found.is_known
    assert found.first_from_second.scale == pytest.approx(UNIT / OTHER_UNIT, rel=0.02)


def test_without_a_turn_nobody_knows_how_far_apart_they_are() -> None:
    """The distance between the cameras is known in metres, and only a turn shows it in a map's unit."""
    found = fit_rig(*tracked(body(turn=0.0)), FRONT, REAR)
    assert found is None or not found.is_known
    together = REAR.copy()
    together[:3, 3] = 0
    way = body(turn=0.0)
    first, second = tracked(way)
    second = first @ together
    found = fit_rig(first, second, FRONT, together)
    assert found is not None
    assert found.is_known, "in one place it does not matter"


def test_what_does_not_move_together_is_not_joined() -> None:
    first, second = tracked(body(turn=1.0))
    _, other = tracked(body(turn=-2.0))
    found = fit_rig(first, other, FRONT, REAR)
    assert found is None or not found.is_known
    assert fit_rig(first[:10], second[:10], FRONT, REAR) is None
    still = np.tile(np.eye(4), (100, 1, 1))
    assert fit_rig(still, still, FRONT, REAR) is None


def test_poses_at_the_same_times() -> None:
    way = body(turn=1.0, frames=50)
    times = np.arange(50, dtype=np.int64) * 100
    here, there = at_same_times(times + 30, way, times, way, 150)
    assert len(here) == len(there) == 49
    assert np.allclose(there[:, :3, 3], 0.7 * way[:-1, :3, 3] + 0.3 * way[1:, :3, 3])
    gap = np.delete(np.arange(50), 20)
    here, _ = at_same_times(times + 30, way, times[gap], way[gap], 150)
    assert len(here) == 47, "nothing is made up where a frame is missing"
    assert len(at_same_times(times, way, times + 10_000, way, 150)[0]) == 0


OWN = """
rig_from_camera:
  front: {translation_m: [0, 0, 0], quat_xyzw: [0, 0, 0, 1]}
  rear: {translation_m: [0.3, 0, -0.1], quat_xyzw: [0, 1, 0, 0]}
"""
KALIBR = """
cam0: {camera_model: pinhole}
cam1: {T_cn_cnm1: [[1, 0, 0, -0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}
cam2: {T_cn_cnm1: [[0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]}
"""

LAUGHTER = "".join(f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}' if n else 'ha'])}]\n" for n in range(7))  # 9^7 words


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(OWN)
    rig = read_rig(path)
    assert np.allclose(rig["rear"], REAR)
    assert np.allclose(rig["front"], np.eye(4))
    path.write_text(KALIBR)
    rig = read_rig(path)
    assert list(rig) == ["cam0", "cam1", "cam2"]
    assert np.allclose(rig["cam1"][:3, 3], [0.1, 0, 0]), "it is to the right of cam0"
    assert np.allclose(rig["cam2"][:3, 3], [0.1, 0, 0])
    assert rotation_angle(rig["cam2"][:3, :3]) == pytest.approx(np.pi / 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no table"),
        ("[1, 2]", "holds no table"),
        ("a: {", "is no YAML"),
        ("rig_from_camera: 3", "is no table"),
        ("rig_from_camera: {a: {translation_m: [0, 0, 0], quat_xyzw: [0, 0, 0, 1]}}", "has 1 camera"),
        (OWN.replace("[0, 1, 0, 0]", "[0, 0, 0, 0]"), "no turn is"),
        (OWN.replace("[0, 1, 0, 0]", "[0, 1, 0]"), "expected 4 numbers"),
        (OWN.replace("0.3", ".nan"), "finite"),
        (OWN.replace("0.3", "10000000.0"), "finite"),
        ("a: " + "[" * 1000, "is no YAML"),
        (LAUGHTER + OWN.replace("[0.3, 0, -0.1]", "*a6"), "repeats itself without end"),
        (OWN + "#" * MAX_FILE_BYTES, "is larger than 1 MiB"),
        (OWN.replace("0.3", "true"), "expected 3 numbers"),
        (OWN.replace("quat_xyzw: [0, 1, 0, 0]", "euler: [0, 1, 0]"), "expected translation_m and quat_xyzw"),
        ("camera: {fx: 3}", "holds camera"),
        ("cam0: {}\ncam1: {}", "cam1 has no T_cn_cnm1"),
        (KALIBR.replace("-0.1", "1, 0"), "expected 16 numbers"),
        (KALIBR.replace("[0, 0, -1, 0]", "[0, 0, -2, 0]"), "not a rigid pose"),
    ],
    ids=lambda words: words[:40],
)
def test_files_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(text)
    with pytest.raises(GeometryError, match=words):
        read_rig(path)
    with pytest.raises(GeometryError, match="cannot read rig file"):
        read_rig(tmp_path / "none.yaml")
