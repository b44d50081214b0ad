"""Every result says of which frame it is, whichever way it was made, and whether there is a pose in it or not."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.memory.config import MemoryConfig
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.reconstructor import Reconstructor
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.frame import Frame
from tests.core.attention.tiny_da3 import tiny_da3

OF_ANOTHER_SHAPE = Intrinsics(50.0, 50.0, 50.0, 20.0, 100, 40)  # a frame does not fit this camera, and fails


def engine_of(way: str, camera: Intrinsics | None) -> Reconstructor | TrackingReconstructor:
    if way == "windows":
        return Reconstructor(tiny_da3(), MemoryConfig(), camera=camera)
    return TrackingReconstructor(LocalMapper(tiny_da3(), MemoryConfig(max_new_frames=1)), camera=camera)


@pytest.mark.parametrize("camera", [None, OF_ANOTHER_SHAPE])
@pytest.mark.parametrize("way", ["windows", "tracked"])
def test_a_result_names_its_frame_and_its_times(way: str, camera: Intrinsics | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame = Frame(image, 17, epoch=3, captured_ns=1_700_000_000_000_000_123, pts_ns=33_000_000, source_id="a camera")
    engine = engine_of(way, camera)
    try:
        (output,) = engine.process([frame]).outputs
    finally:
        engine.close()
    result = output.result
    assert result.valid == (camera is None)
    assert (result.frame_id, result.source_id, result.epoch) == (frame.frame_id, frame.source_id, frame.epoch)
    assert (result.captured_ns, result.pts_ns) == (frame.captured_ns, frame.pts_ns)
