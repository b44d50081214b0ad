"""A picture that shows nothing (a flash, a title card) is in doubt itself and spoils no other."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import umeyama
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.registry import load_model
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.sources.open import open_source
from spark3r_stream.sources.options import SourceOptions
from spark3r_stream.wire.messages import FrameResult, TrackingState
from tests.helpers import FakeClock

FRAMES, LEARNING = 40, 3  # the first frames of a map are in doubt in any case
ROOM = "synthetic:room?seed=5&frames=120&size=160x120&fps=30&augment=0"


def run(bad: int | None, level: int = 0) -> tuple[list[FrameResult], float]:
    """Results of the frames, number `bad` all of one grey, and the RMSE of all others' odometry over the path's."""
    results = []
    with contextlib.closing(open_source(ROOM, SourceOptions(), FakeClock())) as source:
        matrix = source.ground_truth.intrinsics  # type: ignore[attr-defined]
        camera = Intrinsics(
            matrix[0, 0], matrix[1, 1], *matrix[:2, 2], *source.info.size
        )  # what is learned of it would make other doubts
        host = LocalMapper(load_model("bundled"), MemoryConfig(max_new_frames=1))
        engine = TrackingReconstructor(host, camera=camera)
        for number in range(FRAMES):
            frame = source.read()
            if number == bad:
                frame = replace(frame, image=np.full_like(frame.image, level))
            results += [output.result for output in engine.process([frame]).outputs]
        truth = source.ground_truth.world_from_camera[:FRAMES, :3, 3]  # type: ignore[attr-defined]
    engine.finish(adjust_all=False)
    kept = [k for k in range(FRAMES) if k != bad]
    path = np.array([results[k].odom_from_camera[:3, 3] for k in kept])  # type: ignore[index]
    off = umeyama(path, truth[kept]).apply_to_points(path) - truth[kept]
    return results, float(np.sqrt((off**2).sum() / ((truth - truth.mean(0)) ** 2).sum()))


@pytest.fixture(scope="module")
def clean() -> float:
    return run(None)[1]


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("bad", [0, 12])
def test_one_frame_that_shows_nothing_spoils_no_other(bad: int, level: int, clean: float) -> None:
    results, error = run(bad, level)
    in_doubt = {k for k, result in enumerate(results) if result.state is not TrackingState.TRACKING}
    begins = LEARNING + (bad == 0)  # with the frame after it
    assert in_doubt == {*range(begins), bad}
    assert error <= clean + 0.05
