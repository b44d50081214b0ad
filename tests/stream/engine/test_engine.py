"""The engine with a real model (tiny, random weights), a real buffer and scripted sources."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.da3 import DA3
from spark3r_core.models.interface import Decoded
from spark3r_core.stream import window_pass
from spark3r_stream.clock import SystemClock
from spark3r_stream.engine.loop import EngineConfig, stream_steps
from spark3r_stream.engine.reconstructor import Reconstructor
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.engine.scheduler import WindowPlan
from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.sources.base import SourceInfo, SourceKind, SourceState
from spark3r_stream.stats import DropCause, DropCounter
from spark3r_stream.wire.messages import FrameOutput, TrackingState
from tests.core.attention.tiny_da3 import tiny_da3
from tests.core.models.released import tiny


@pytest.fixture(scope="module")
def model() -> DA3:
    return tiny_da3()


class ScriptedSource:
    """Hands out the given frames, then ends or fails; a drop counter that a test may fill."""

    def __init__(self, frames: Sequence[Frame], is_live: bool = False, error: Exception | None = None) -> None:
        self.drops = DropCounter()
        self.info = SourceInfo(SourceKind.VIDEO, "scripted", is_live, (64, 48), 30.0, len(frames))
        self.state = SourceState.STREAMING
        self._frames = list(frames)
        self._error = error or EndOfStream("done")

    def read(self) -> Frame:
        if not self._frames:
            raise self._error
        return self._frames.pop(0)

    def close(self) -> None:
        self._frames = []


class Collect:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.outputs: list[FrameOutput] = []
        self.results: list[StepOutput] = []

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        self.results.append(result)
        self.outputs += result.outputs


def frame(i: int, hw: tuple[int, int] = (48, 64), epoch: int = 0) -> Frame:
    image = np.random.default_rng(i).integers(0, 255, (*hw, 3), dtype=np.uint8)
    return Frame(image, i, epoch, i * 33_000_000, i * 33_000_000, "scripted")


def taken_soon(i: int) -> Frame:
    """A frame of a live source, captured a little after this."""
    return replace(frame(i), captured_ns=time.time_ns() + 10**9)


def mapper(model: DA3, camera: Intrinsics | None = None) -> Reconstructor:
    return Reconstructor(model, MemoryConfig(), camera=camera)


def run(
    source: ScriptedSource,
    reconstructor: Reconstructor,
    plan: WindowPlan,
    max_frames: int | None = None,
    stop: threading.Event | None = None,
) -> tuple[Collect, RunStats]:
    clock = SystemClock()
    sink, stats = Collect(), RunStats(clock, "scripted", "tiny")
    config = EngineConfig(plan, max_frames=max_frames)
    for _ in stream_steps(source, reconstructor, [sink], config, stats, clock, stop or threading.Event()):
        pass
    return sink, stats


def test_a_file_gives_every_frame_in_order_and_in_full_windows(model: DA3) -> None:
    source = ScriptedSource([frame(i) for i in range(11)])
    sink, stats = run(source, mapper(model), WindowPlan(4, 4))
    assert [o.result.frame_id for o in sink.outputs] == list(range(11))
    assert [len(r.outputs) for r in sink.results] == [4, 4, 3]
    assert all(o.result.valid and o.result.published_ns > 0 for o in sink.outputs)
    assert stats.frames_in == stats.processed_frames == 11
    first = sink.outputs[0]
    assert first.depth is not None
    assert first.depth.shape == (36, 48)
    assert first.result.camera is not None
    assert (first.result.camera.width, first.result.camera.height) == (64, 48)


def test_windows_and_results_do_not_depend_on_thread_timing(model: DA3) -> None:
    runs = []
    for _ in range(2):
        sink, _ = run(ScriptedSource([frame(i) for i in range(9)]), mapper(model), WindowPlan(3, 3))
        runs.append(np.stack([o.depth for o in sink.outputs if o.depth is not None]))
    assert np.array_equal(*runs)


def test_max_frames_and_stop_end_a_run_early(model: DA3) -> None:
    sink, _ = run(ScriptedSource([frame(i) for i in range(20)]), mapper(model), WindowPlan(4, 4), 6)
    assert len(sink.outputs) == 6
    stop = threading.Event()
    stop.set()
    sink, _ = run(ScriptedSource([frame(0)]), mapper(model), WindowPlan(1, 1), stop=stop)
    assert sink.outputs == []


@pytest.mark.parametrize("per_window", [1, 2, 8])
def test_a_failing_source_raises_after_its_frames_were_processed(model: DA3, per_window: int) -> None:
    source = ScriptedSource([frame(i) for i in range(3)], error=SourceError("cable pulled"))
    sink = Collect()
    clock = SystemClock()
    steps = stream_steps(
        source,
        mapper(model),
        [sink],
        EngineConfig(WindowPlan(per_window, per_window)),
        RunStats(clock, "scripted", "tiny"),
        clock,
        threading.Event(),
    )
    with pytest.raises(SourceError, match="cable pulled"):
        list(steps)
    assert [o.result.frame_id for o in sink.outputs] == [0, 1, 2]


def test_losses_travel_with_the_next_result_once(model: DA3) -> None:
    source = ScriptedSource([frame(i) for i in range(4)])
    source.drops.add(DropCause.DECODE_ERROR, 3)
    sink, stats = run(source, mapper(model), WindowPlan(2, 2))
    assert [dict(o.result.drops_since_last) for o in sink.outputs] == [{"decode_error": 3}, {}, {}, {}]
    assert stats.drops.total() == {DropCause.DECODE_ERROR: 3}


def test_a_live_source_keeps_the_newest_and_counts_the_rest(model: DA3) -> None:
    source = ScriptedSource([taken_soon(i) for i in range(200)], is_live=True)
    sink, stats = run(source, mapper(model), WindowPlan(1, 8))
    assert sink.outputs[-1].result.frame_id == 199
    assert stats.frames_in + stats.drops.total().get(DropCause.SUPERSEDED, 0) == 200
    assert sum(sum(o.result.drops_since_last.values()) for o in sink.outputs) == 200 - stats.frames_in


def test_a_live_run_begins_with_what_is_seen_from_now_on(model: DA3) -> None:
    """What waited in a camera's buffers while the model was loaded would make a map that is late from the start."""
    waited = [frame(i) for i in range(30)]
    source = ScriptedSource([*waited, taken_soon(30), taken_soon(31)], is_live=True)
    sink, stats = run(source, mapper(model), WindowPlan(1, 8))
    assert [o.result.frame_id for o in sink.outputs] == [30, 31]
    assert stats.drops.total() == {DropCause.SUPERSEDED: 30}
    assert sum(sum(o.result.drops_since_last.values()) for o in sink.outputs) == 30


def test_another_shape_starts_a_submap_a_similar_one_does_not(model: DA3) -> None:
    frames = [frame(0), frame(1, (50, 66)), frame(2, (96, 48)), frame(3, (96, 48))]
    sink, stats = run(ScriptedSource(frames), mapper(model), WindowPlan(4, 4))
    assert [o.result.submap for o in sink.outputs] == [0, 0, 1, 1]
    assert [c.submap for r in sink.results for c in r.corrections] == [1]
    assert all(o.result.valid for o in sink.outputs)
    assert stats.submap == 1


def test_a_new_epoch_is_low_confidence_until_it_proves_itself(model: DA3) -> None:
    frames = [frame(0), frame(1), *(frame(i, epoch=1) for i in range(2, 8))]
    sink, _ = run(ScriptedSource(frames), mapper(model), WindowPlan(2, 2))
    states = [o.result.state for o in sink.outputs]
    assert states[2] is TrackingState.LOW_CONFIDENCE
    assert {o.result.submap for o in sink.outputs} == {0}


def test_given_intrinsics_replace_the_predicted_ones(model: DA3) -> None:
    camera = Intrinsics(60.0, 61.0, 31.0, 23.0, 64, 48)
    sink, _ = run(ScriptedSource([frame(0)]), mapper(model, camera), WindowPlan(1, 1))
    result = sink.outputs[0].result
    assert result.camera is not None
    assert result.depth_camera is not None
    assert np.allclose(result.camera.matrix, camera.matrix)
    assert np.allclose(result.depth_camera.matrix, camera.resized(48, 36).matrix)


def test_frames_that_do_not_fit_the_given_camera_fail_with_the_reason(model: DA3) -> None:
    camera = Intrinsics(60.0, 61.0, 31.0, 23.0, 640, 360)
    sink, stats = run(ScriptedSource([frame(0)]), mapper(model, camera), WindowPlan(1, 1))
    assert not sink.outputs[0].result.valid
    assert "aspect ratio differs" in sink.outputs[0].result.failure_reason
    assert stats.failed == stats.lost == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("out of memory (injected)\nand more"), "the model failed: out of memory (injected)"),
        (RuntimeError(""), "the model failed: RuntimeError"),
        (np.linalg.LinAlgError("Singular matrix"), "the model failed: Singular matrix"),
    ],
)
def test_a_model_that_raises_fails_the_window_not_the_stream(
    model: DA3, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    reconstructor = mapper(model)
    calls = 0
    decode = model.decode

    def broken(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return decode(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "decode", broken)
    sink, stats = run(ScriptedSource([frame(i) for i in range(6)]), reconstructor, WindowPlan(2, 2))
    assert [o.result.valid for o in sink.outputs] == [True, True, False, False, True, True]
    assert sink.outputs[2].result.failure_reason == told
    assert stats.failed == stats.lost == 2


def test_a_stream_whose_first_window_failed_still_gets_an_anchor(model: DA3, monkeypatch: pytest.MonkeyPatch) -> None:
    reconstructor = mapper(model)
    decode, references = model.decode, []

    def broken_once(*args: object, reference: int | None = 0) -> object:
        references.append(reference)
        if len(references) == 1:
            raise RuntimeError("out of memory (injected)")
        return decode(*args, reference=reference)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "decode", broken_once)
    sink, _ = run(ScriptedSource([frame(i) for i in range(6)]), reconstructor, WindowPlan(2, 2))
    assert references == [0, 0, 0]
    assert [r.support for r in sink.results] == [(), (), (2, 3)]
    assert [r.admitted for r in sink.results] == [(), (2, 3), (4, 5)]


def run_that_gets_lost(model: DA3, monkeypatch: pytest.MonkeyPatch) -> tuple[Collect, RunStats]:
    """Five windows of one frame; the support frames of the last three are not where they were."""
    poses, windows = model.poses, 1  # the first has none, and its poses are not asked for

    def shifted(decoded: Decoded) -> torch.Tensor:
        nonlocal windows
        windows += 1
        again = poses(decoded).clone()
        if windows > 2:
            again[..., :3, 3] += 1e3
        return again

    monkeypatch.setattr(model, "poses", shifted)
    return run(ScriptedSource([frame(i) for i in range(5)]), mapper(model), WindowPlan(1, 1))


def test_points_of_windows_that_disagree_with_the_map_stay_out_of_it(
    model: DA3, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, stats = run_that_gets_lost(model, monkeypatch)
    assert all(o.result.valid and o.depth is not None for o in sink.outputs)
    assert [o.points is not None for o in sink.outputs] == [True, True, False, False, False]
    assert [o.result.state_reason for o in sink.outputs[:2]] == ["", ""]
    assert all("known frames moved by" in o.result.state_reason for o in sink.outputs[2:])
    assert stats.off_map == stats.as_dict()["frames_off_map"] == 3


def test_a_lost_stream_goes_on_from_the_last_camera_that_agreed_with_the_map(
    model: DA3, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, _ = run_that_gets_lost(model, monkeypatch)
    assert sink.outputs[-1].result.state is TrackingState.LOST
    (correction,) = sink.results[-1].corrections
    last_good = sink.outputs[1].result.world_from_camera
    assert last_good is not None
    assert np.allclose(correction.map_from_submap.matrix, last_good)
    assert not np.allclose(last_good, sink.outputs[-1].result.world_from_camera)


@pytest.mark.parametrize("family", ["da3", "pi3"])
def test_a_new_submap_begins_where_the_last_good_camera_was(family: str) -> None:
    """pi3 puts its own origin anywhere, so only the session can make the first camera the submap's origin."""
    reconstructor = Reconstructor(tiny(family)[0], MemoryConfig(), long_side=56)
    before = reconstructor.process([frame(0), frame(1)]).outputs
    after = reconstructor.process([frame(2, (64, 48)), frame(3, (64, 48))]).outputs
    assert [output.result.submap for output in (*before, *after)] == [0, 0, 1, 1]
    origin = after[0].result.world_from_camera
    assert origin is not None
    assert np.allclose(after[0].map_from_submap.matrix, before[1].result.world_from_camera)
    if family == "pi3":
        assert np.allclose(origin, np.eye(4), atol=1e-6)


def test_a_window_that_cannot_be_aligned_has_a_cause_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    align = window_pass.align_window
    windows = iter(range(9))

    def failing_once(*args: Any) -> Sim3:
        if next(windows) == 0:
            raise GeometryError("cameras on one spot (injected)")
        return align(*args)

    monkeypatch.setattr(window_pass, "align_window", failing_once)
    model = tiny("pi3")[0]
    reconstructor = Reconstructor(model, MemoryConfig(), long_side=42)
    sink, stats = run(ScriptedSource([frame(i) for i in range(6)]), reconstructor, WindowPlan(2, 2))
    assert [o.result.valid for o in sink.outputs] == [True, True, False, False, True, True]
    assert "on one spot" in sink.outputs[2].result.failure_reason
    assert stats.drops.total() == {DropCause.NOT_ALIGNED: 2}


def test_a_frame_that_does_not_fit_the_given_camera_does_not_cost_the_map(model: DA3) -> None:
    camera = Intrinsics(60.0, 61.0, 31.0, 23.0, 64, 48)
    frames = [frame(0), frame(1, (96, 48)), frame(2)]
    sink, stats = run(ScriptedSource(frames), mapper(model, camera), WindowPlan(3, 3))
    assert [o.result.valid for o in sink.outputs] == [True, False, True]
    assert [o.result.submap for o in sink.outputs] == [0, 0, 0]
    assert sink.results[-1].support == (0,)
    assert stats.drops.total() == {DropCause.UNDISTORT_ERROR: 1}
