"""What a tracked frame publishes beside its pose: odometry that never jumps, a covariance only where pixels spoke."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.memory.config import MemoryConfig
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.frame import Frame
from spark3r_stream.wire.encode import encode_frame
from spark3r_stream.wire.messages import FrameResult
from tests.core.attention.tiny_da3 import tiny_da3

STEP_NS = 33_000_000


def textured(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: blobs a few pixels wide."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    return np.kron(coarse, np.ones((4, 4, 1)))[:height, :width].astype(np.uint8)


def frame(frame_id: int, image: np.ndarray) -> Frame:
    return Frame(image, frame_id, 0, frame_id * STEP_NS, frame_id * STEP_NS, "test")


def shifted(image: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(image, pixels, axis=1)


@pytest.fixture(scope="module")
def results() -> list[FrameResult]:
    """Eight frames to the side, one of noise, and two of another size, which begin another map."""
    picture, other = textured(48, 64), textured(48, 48)
    noise = np.random.default_rng(1).integers(0, 256, picture.shape, dtype=np.uint8)
    images = [*(shifted(picture, k // 2) for k in range(8)), noise, other, other]
    engine = TrackingReconstructor(LocalMapper(tiny_da3(), MemoryConfig(max_new_frames=1)))
    outputs = [output for k, image in enumerate(images) for output in engine.process([frame(k, image)]).outputs]
    engine.finish(adjust_all=False)
    engine.close()
    for output in outputs:
        encode_frame(output)
    return [output.result for output in outputs]


def test_odometry_goes_on_when_a_new_map_begins(results: list[FrameResult]) -> None:
    assert all(result.valid for result in results), [result.failure_reason for result in results]
    before, first = results[8], results[9]
    assert first.submap > before.submap
    assert before.odom_from_camera is not None
    assert np.linalg.norm(se3.log(before.odom_from_camera)) > 1e-3, "the camera never moved: this tests nothing"
    np.testing.assert_allclose(first.odom_from_camera, before.odom_from_camera, atol=1e-9)


def test_a_guess_has_no_covariance(results: list[FrameResult]) -> None:
    assert results[3].covariance is not None
    assert np.linalg.eigvalsh(results[3].covariance)[0] >= 0
    assert results[8].state_reason
    assert results[8].covariance is None
    np.testing.assert_array_equal(results[0].covariance, np.zeros((6, 6)))
