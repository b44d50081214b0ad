"""The final path: frames follow their keyframes when these move, and nothing jumps between two of them."""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.final_path import FinalPath

STEP = np.array([0.05, 0.01, 0.02, 0.004, 0.02, -0.006])
NS = 100_000_000
TRUE = np.stack([se3.exp(i * STEP) for i in range(13)])  # of the world, ids 0 to 12
KEYS = {0: 0, 1: 5, 2: 10}  # submap: frame id
LAG = 2  # frames that are still tracked on the keyframe before


def submap_of(frame: int) -> int:
    return max((s for s, key in KEYS.items() if frame > key + LAG), default=0)


def on_its_keyframe(frame: int, poses: np.ndarray) -> np.ndarray:
    """Where a frame of these poses lies on the keyframe that it was tracked on."""
    return se3.compose(se3.invert(poses[KEYS[submap_of(frame)]]), poses[frame])


def a_run(drift: np.ndarray | None = None) -> FinalPath:
    """Frames on their keyframes as tracking had them; `drift`: twist per frame of what tracking got wrong."""
    path = FinalPath()
    for submap, key in KEYS.items():
        path.begin(submap, key, submap - 1 if submap else None)
    for frame in range(13):
        submap = submap_of(frame)
        relative = on_its_keyframe(frame, TRUE)
        if drift is not None:
            relative = se3.compose(se3.exp((frame - KEYS[submap]) * drift), relative)
        path.add(submap, frame * NS, relative, frame)
    return path


def placed(poses: np.ndarray, scale: float = 1.0):
    return lambda submap: Sim3(scale, poses[KEYS[submap]][:3, :3], poses[KEYS[submap]][:3, 3])


def test_a_map_that_did_not_move_gives_the_tracked_path() -> None:
    found = a_run().final(placed(TRUE))
    np.testing.assert_array_equal(found.time_ns, np.arange(13) * NS)
    np.testing.assert_allclose(found.world_from_camera, TRUE, atol=1e-12)


def test_keyframes_lie_where_the_map_has_them_and_drift_between_them_is_undone() -> None:
    drift = np.array([0.002, 0.001, 0.0, 0.0, 0.001, 0.0005])
    found = a_run(drift).final(placed(TRUE)).world_from_camera
    for key in KEYS.values():
        np.testing.assert_allclose(found[key], TRUE[key], atol=1e-12)
    np.testing.assert_allclose(found[:11], TRUE[:11], atol=1e-9, err_msg="an even drift is spread as it grew")
    plain = FinalPath()
    for frame in range(13):
        submap = submap_of(frame)
        pose = se3.compose(
            se3.exp((frame - KEYS[submap]) * drift), se3.compose(se3.invert(TRUE[KEYS[submap]]), TRUE[frame])
        )
        plain.add(submap, frame * NS, pose, frame)
    assert not plain.has_keyframes
    off = np.abs(plain.final(placed(TRUE)).world_from_camera - TRUE).max()
    assert off > 0.005, "without keyframes frames stay as tracked, or this test shows nothing"


def test_frames_move_with_a_map_that_grew_and_turned() -> None:
    turn, scale = se3.exp(np.array([0.3, -1.0, 0.2, 0.1, 0.7, -0.2])), 2.5
    world = Sim3(scale, turn[:3, :3], turn[:3, 3])
    poses = world.apply_to_poses(TRUE)
    found = a_run().final(placed(poses, scale))
    np.testing.assert_allclose(found.world_from_camera, poses, atol=1e-9)


def test_a_keyframe_that_moved_takes_the_frames_before_it_along_evenly() -> None:
    moved = TRUE.copy()
    correction = np.array([0.1, 0.0, 0.05, 0.0, 0.05, 0.0])
    moved[5:] = se3.compose(se3.exp(correction), TRUE[5:])
    found = a_run().final(placed(moved)).world_from_camera
    np.testing.assert_allclose(found[0], TRUE[0], atol=1e-12)
    np.testing.assert_allclose(found[5], moved[5], atol=1e-12)
    np.testing.assert_allclose(found[8:], moved[8:], atol=1e-12)
    gone = np.stack([se3.log(se3.compose(a, se3.invert(b))) for a, b in zip(found[:6], TRUE[:6], strict=True)])
    np.testing.assert_allclose(gone, np.linspace(0, 1, 6)[:, None] * correction, atol=1e-9)


def test_a_keyframe_whose_frame_was_lost_relaxes_nothing() -> None:
    path = FinalPath()
    path.begin(0, 0, None)
    path.begin(1, 5, 0)
    for frame in (0, 1, 2):  # frame 5 itself was never tracked
        path.add(0, frame * NS, TRUE[frame], frame)
    moved = TRUE.copy()
    moved[5, 0, 3] += 1
    np.testing.assert_allclose(path.final(placed(moved)).world_from_camera, TRUE[:3], atol=1e-12)


def test_of_two_keyframes_on_one_the_first_is_what_frames_lead_to() -> None:
    """A keyframe that was mapped, but had too little texture to be tracked on."""
    path = FinalPath()
    path.begin(0, 0, None)
    path.begin(1, 5, 0)
    path.begin(2, 10, 0)
    for frame in range(11):
        path.add(0, frame * NS, TRUE[frame], frame)
    moved = TRUE.copy()
    moved[5] = se3.compose(se3.exp(np.array([0.1, 0, 0, 0, 0, 0])), TRUE[5])
    found = path.final(placed(moved)).world_from_camera
    np.testing.assert_allclose(found[5], moved[5], atol=1e-12)


def test_no_frames_make_an_empty_path() -> None:
    found = FinalPath().final(placed(TRUE))
    assert found.world_from_camera.shape == (0, 4, 4)
    assert found.time_ns.shape == (0,)


def test_frames_that_waited_for_a_keyframe_run_into_those_tracked_on_it() -> None:
    """While a keyframe is mapped, frames are tracked on the old one, whose depth is 1.5 times too large here."""
    line = np.stack([se3.exp([0.1 * i, 0, 0, 0, 0, 0]) for i in range(13)])
    path = FinalPath()
    for submap, key in KEYS.items():
        path.begin(submap, key, submap - 1 if submap else None)
    for frame in range(13):
        submap = submap_of(frame)
        relative = on_its_keyframe(frame, line)
        stretch = 1.0 + 0.5 * max(0, frame - KEYS[1]) / LAG * (submap == 0)
        relative[:3, 3] *= stretch
        path.add(submap, frame * NS, relative, frame)
    steps = np.diff(path.final(placed(line)).world_from_camera[:, 0, 3])
    assert steps.min() > 0.05
    assert steps.max() < 0.2


def test_frames_that_were_tracked_once_more_lie_there_and_those_between_them_follow() -> None:
    """Every third frame is known; tracking was off by a wobble that nothing else tells of."""
    wobble = np.array([0.0, 0.01, 0.0, 0.0, 0.02, 0.0])
    wrong = np.stack([se3.compose(pose, se3.exp(wobble * (i % 2))) for i, pose in enumerate(TRUE)])
    path = FinalPath()
    for submap, key in KEYS.items():
        path.begin(submap, key, submap - 1 if submap else None)
    for frame in range(13):
        path.add(submap_of(frame), frame * NS, on_its_keyframe(frame, wrong), frame)
    before = path.final(placed(TRUE)).world_from_camera
    known = (0, 3, 6, 9, 12)
    for frame in known:
        path.retrack(frame, on_its_keyframe(frame, TRUE))
    found = path.final(placed(TRUE)).world_from_camera
    for frame in known:
        np.testing.assert_allclose(found[frame], TRUE[frame], atol=1e-12)
    errors = [np.linalg.norm(se3.log(se3.compose(se3.invert(TRUE), poses)), axis=-1) for poses in (before, found)]
    assert errors[1].max() <= errors[0].max() + 1e-9
    path.retrack(99, np.eye(4))  # one that never had a pose
    np.testing.assert_array_equal(path.final(placed(TRUE)).world_from_camera, found)


def test_an_even_drift_between_two_known_frames_is_undone() -> None:
    drift = np.array([0.004, 0.0, 0.0, 0.0, 0.002, 0.0])
    path = FinalPath()
    for frame in range(7):
        path.add(0, frame * NS, se3.compose(TRUE[0], se3.exp(frame * (STEP + drift))), frame)
    straight = np.stack([se3.exp(frame * STEP) for frame in range(7)])
    path.retrack(0, straight[0])
    path.retrack(6, straight[6])
    found = path.final(lambda submap: Sim3()).world_from_camera
    off = np.linalg.norm(found[:, :3, 3] - straight[:, :3, 3], axis=-1)
    assert off.max() < 2e-3, "a hundredth of the way, since twists do not quite add up"


def test_what_lies_between_two_places_far_apart_is_left_alone() -> None:
    path = a_run()
    path.retrack(6, on_its_keyframe(6, TRUE))
    jumped = on_its_keyframe(12, TRUE)
    jumped[:3, 3] += 5
    path.retrack(12, jumped)
    found = path.final(placed(TRUE)).world_from_camera
    np.testing.assert_allclose(found[7:12], TRUE[7:12], atol=1e-12)
