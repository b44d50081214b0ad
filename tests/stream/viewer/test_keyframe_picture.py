"""The picture that points give back."""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry import se3
from spark3r_stream.engine.frame_cloud import CloudConfig, cloud_of
from spark3r_stream.viewer.keyframe_picture import picture_of_points
from spark3r_stream.wire.messages import CameraView

RNG = np.random.default_rng(0)
SIZE = (30, 40)
CAMERA = CameraView(np.array([[35.0, 0, 20.5], [0, 36.0, 14.5], [0, 0, 1]]), SIZE[1], SIZE[0])


def test_the_engines_points_give_the_pixels_they_were_made_from() -> None:
    image = RNG.integers(30, 256, (*SIZE, 3), dtype=np.uint8)
    depth = (2 + 0.01 * np.add.outer(np.arange(SIZE[0]), np.arange(SIZE[1]))).astype(np.float32)
    pose = se3.exp([1, 2, 3, 0.3, 0.2, 0.1])
    trust = np.repeat(np.linspace(0, 1, SIZE[0])[:, None], SIZE[1], 1)
    points, colours, _ = cloud_of(CloudConfig(), image, depth, trust, CAMERA.matrix, pose)
    picture = picture_of_points(points, colours, CAMERA, pose)
    assert picture is not None
    drawn = (picture == image).all(-1)
    assert drawn.sum() == len(points)
    assert 0.85 < drawn.mean() < 0.95, "all but the tenth that was not published"
    assert len(np.unique(picture[~drawn].reshape(-1, 3), axis=0)) == 1, "and nothing where none is"


def test_where_some_points_were_published_there_are_no_stripes() -> None:
    image = np.full((*SIZE, 3), (200, 100, 50), np.uint8)
    depth, trust = np.full(SIZE, 2.0, np.float32), np.ones(SIZE)
    cloud = CloudConfig(max_points=800)
    points, colours, _ = cloud_of(cloud, image, depth, trust, CAMERA.matrix, np.eye(4))
    assert len(points) < 0.7 * depth.size
    picture = picture_of_points(points, colours, CAMERA, np.eye(4))
    assert picture is not None
    assert (picture[:, 1:-1] == image[:, 1:-1]).all(-1).mean() > 0.98


def test_points_that_are_not_in_the_picture_leave_no_trace() -> None:
    points = np.array([[0, 0, -1], [9, 0, 1], [0, -9, 1], [np.nan, 0, 1], [0, 0, np.inf], [0, 0, 0]], np.float32)
    picture = picture_of_points(points, np.full((6, 4), 255, np.uint8), CAMERA, np.eye(4))
    assert picture is not None
    assert picture.max() < 100
    assert (
        picture_of_points(points, np.zeros((6, 3), np.uint8), CameraView(np.eye(3), 1 << 20, 1 << 20), np.eye(4))
        is None
    )
