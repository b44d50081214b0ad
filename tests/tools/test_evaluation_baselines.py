"""OpenCV's visual odometry, the baseline that a network has to be measured against, does what it should."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rotation import exp_so3, rotation_angle
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_core.synthetic.sequence import SyntheticSequence
from tools.evaluation import baselines, metrics

IMAGE_HW = (150, 200)


@pytest.fixture(scope="module")
def room() -> tuple[list[np.ndarray], np.ndarray, Intrinsics]:
    sequence = SyntheticSequence(
        VALIDATION.start + 3, 16, "forward", IMAGE_HW, augment=False, world_kind="room", step=3.0
    )
    images = [sequence.frame(i)[0] for i in range(len(sequence))]
    return images, sequence.world_from_camera, Intrinsics.from_matrix(sequence.intrinsics, *IMAGE_HW[::-1])


def test_odometry_beats_no_motion_in_a_textured_room(room) -> None:
    images, truth, camera = room
    poses, lost = baselines.visual_odometry(images, camera)
    found, _ = metrics.trajectory(poses, truth, 4)
    still, _ = metrics.trajectory(baselines.no_motion(len(truth)), truth, 4)
    assert lost < len(images) / 4
    assert found["rpe"]["rotation_deg"] < 0.3 * still["rpe"]["rotation_deg"]
    assert found["rpe"]["direction_deg"] < 30
    assert found["ate"]["rmse"] < 0.3 * still["ate"]["rmse"]
    assert found["auc"]["auc@30"] > 0.3 > still["auc"]["auc@30"]


def test_a_still_camera_does_not_move(room) -> None:
    images, _, camera = room
    poses, lost = baselines.visual_odometry([images[0]] * 4, camera)
    assert lost == 0
    assert np.allclose(poses, np.eye(4))


def test_frames_without_features_are_counted_and_keep_the_last_pose(room) -> None:
    images, _, camera = room
    black = np.zeros_like(images[0])
    poses, lost = baselines.visual_odometry([*images[:8], black, black], camera)
    assert lost >= 2
    assert np.array_equal(poses[8], poses[7])
    assert np.array_equal(poses[9], poses[7])


def test_a_camera_that_only_turns_is_followed_and_stays_in_place() -> None:
    """No feature moves against another, so nothing can be triangulated: an essential matrix would invent a way."""
    rng = np.random.default_rng(0)
    far = cv2.resize(rng.integers(0, 256, (60, 120, 3), dtype=np.uint8), (960, 480), interpolation=cv2.INTER_CUBIC)
    camera = Intrinsics(200.0, 200.0, 100.0, 75.0, 200, 150)
    images, truth = [], []
    for degrees in range(0, 10, 2):
        turn = exp_so3(np.array([0, np.radians(degrees), 0]))
        # pixels of the picture at infinity, seen by a camera of the same focal length that looks at its middle
        picture = np.array([[200.0, 0, 480], [0, 200.0, 240], [0, 0, 1]])
        homography = picture @ turn @ np.linalg.inv(camera.matrix)
        images.append(cv2.warpPerspective(far, homography, (200, 150), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
        truth.append(turn)
    poses, lost = baselines.visual_odometry(images, camera)
    assert lost == 0
    assert np.allclose(poses[:, :3, 3], 0)
    errors = np.degrees(rotation_angle(np.swapaxes(np.stack(truth), 1, 2) @ poses[:, :3, :3]))
    assert errors.max() < 0.5
