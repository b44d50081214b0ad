"""Result files behind the engine's back: a file loses nothing, a live stream never waits and counts what it lost."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.files_sink import FilesSink
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.errors import OutputError
from spark3r_stream.frame import Frame
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.outputs.ply import read_ply
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.wire.messages import CameraView, FrameOutput, FrameResult, MapCorrection
from tests.helpers import make_frame

POINTS = 50


class SlowWriter(ResultWriter):
    """Adds nothing until the disk is `awake`; `busy` once a frame has been taken in hand."""

    def __init__(self, out_dir: Path) -> None:
        super().__init__(out_dir)
        self.awake, self.busy = threading.Event(), threading.Event()
        self.corrections: list[MapCorrection] = []

    def correct(self, correction: MapCorrection) -> None:
        self.corrections.append(correction)
        super().correct(correction)

    def add(self, output: FrameOutput, image: NDArray[np.uint8], confidence: ArrayLike | None = None) -> None:
        self.busy.set()
        assert self.awake.wait(30)
        super().add(output, image, confidence)


class FullWriter(ResultWriter):
    def add(self, output: FrameOutput, image: NDArray[np.uint8], confidence: ArrayLike | None = None) -> None:
        raise OutputError("the disk is full")


def window(frame_id: int) -> tuple[list[Frame], StepOutput]:
    frame = make_frame(frame_id)
    pose = np.eye(4)
    pose[0, 3] = 0.1 * frame_id
    camera = CameraView(np.diag([5.0, 5.0, 1.0]), 8, 6)
    result = FrameResult(
        frame_id, "test", 0, 0, frame.captured_ns, 0, world_from_camera=pose, camera=camera, depth_camera=camera
    )
    points = np.random.default_rng(frame_id).uniform(size=(POINTS, 3)).astype(np.float32) + [frame_id, 0, 0]
    output = FrameOutput(
        result,
        depth=np.ones((6, 8), np.float32),
        points=points.astype(np.float32),
        colours=np.full((POINTS, 4), 200, np.uint8),
        point_confidence=np.full(POINTS, 0.5, np.float32),
    )
    return [frame], StepOutput([output], {}, {}, None)


def _windows_without_end(sink: FilesSink) -> None:
    while True:
        sink.window(*window(1))


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_file_waits_for_its_results_and_loses_none(tmp_path: Path) -> None:
    writer = SlowWriter(tmp_path)
    sink = FilesSink(writer, lossless=True, max_waiting=3)

    def stream() -> None:
        for i in range(10):
            sink.window(*window(i))

    engine = in_thread(stream)
    assert writer.busy.wait(30)
    engine.join(0.2)
    assert engine.is_alive()  # three wait, the fourth does not fit
    writer.awake.set()
    engine.join(30)
    sink.close()
    writer.close({})
    assert sink.counts == {"frames_without_points": 0, "frames_not_written": 0}
    assert len(read_trajectory(tmp_path / "trajectory.txt")) == 10
    x = read_ply(tmp_path / "cloud.ply").points[:, 0]
    assert all(((i <= x) & (x < i + 1)).any() for i in range(10))


def test_a_live_stream_never_waits_and_keeps_every_pose(tmp_path: Path) -> None:
    writer = SlowWriter(tmp_path)
    sink = FilesSink(writer, lossless=False, max_waiting=3)
    for i in range(10):  # with the writer asleep, this thread would stay here for ever if it waited
        sink.window(*window(i))
    assert sink.counts == {"frames_without_points": 7, "frames_not_written": 0}
    writer.awake.set()
    sink.close()
    writer.close({})
    assert read_trajectory(tmp_path / "trajectory.txt").time_ns.tolist() == [make_frame(i).pts_ns for i in range(10)]
    x = read_ply(tmp_path / "cloud.ply").points[:, 0]
    assert x.min() < 1 < 2 < x.max() < 3


def test_where_submaps_lie_is_never_left_out(tmp_path: Path) -> None:
    """A correction, or a frame that was tracked once more, is small, and says where all the rest is."""
    writer = SlowWriter(tmp_path)
    sink = FilesSink(writer, lossless=False, max_waiting=1)
    sink.window(*window(0))
    assert writer.busy.wait(30)
    sink.window(*window(1))
    moved = Sim3(1.0, np.eye(3), np.array([0, 5.0, 0]))
    sink.window([], StepOutput([], corrections=[MapCorrection(0, 1, moved, "a loop was closed")]))
    writer.awake.set()
    sink.close()
    assert sink.counts == {"frames_without_points": 1, "frames_not_written": 0}
    assert [one.reason for one in writer.corrections] == ["a loop was closed"]


def test_a_writer_that_fails_ends_the_run_with_its_error(tmp_path: Path) -> None:
    sink = FilesSink(FullWriter(tmp_path), lossless=True, max_waiting=1)
    sink.window(*window(0))
    with pytest.raises(OutputError, match="full"):
        _windows_without_end(sink)
    sink.close()  # told already


def test_an_error_after_the_last_window_is_told_by_close(tmp_path: Path) -> None:
    writer = SlowWriter(tmp_path)
    sink = FilesSink(writer, lossless=True)
    sink.window(*window(0))
    writer.close({})  # its files are closed: adding to them fails
    writer.awake.set()
    with pytest.raises(ValueError, match="closed file"):
        sink.close()


def test_a_live_run_goes_on_without_its_files_and_counts_what_they_lack(tmp_path: Path) -> None:
    told: list[OutputError] = []
    sink = FilesSink(FullWriter(tmp_path), lossless=False, on_error=told.append)
    while not told:
        sink.window(*window(1))
    before = sink.counts["frames_not_written"]
    for i in range(5):
        sink.window(*window(i))
    sink.close()
    assert [str(error) for error in told] == ["the disk is full"]
    assert before >= 1
    assert sink.counts["frames_not_written"] == before + 5


def test_a_fault_of_the_program_ends_a_live_run_too(tmp_path: Path) -> None:
    class BrokenWriter(ResultWriter):
        def add(self, *_: object) -> None:
            raise ZeroDivisionError

    sink = FilesSink(BrokenWriter(tmp_path), lossless=False, on_error=lambda error: None)
    with pytest.raises(ZeroDivisionError):
        _windows_without_end(sink)
    sink.close()
