"""Whatever worker of a run dies, of whatever: the last status is FAILED, the exit code is not 0, and both the user and
the status are told why. The runs have no end of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spark3r_stream.engine.mapper_process import MapperProcess
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.relay_process import RelayProcess
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.running import run
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import STATUS
from spark3r_stream.wire.messages import SessionState, Status
from tests.helpers import spark3r

ENDLESS = "synthetic:room?frames=100000&size=160x120&fps=15&live=1"
SHORT = "synthetic:room?frames=4&size=160x120"


class Fault(BaseException):
    """Nothing that anybody expects."""


def dies(
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    thread: str,
    error: type[BaseException],
    when: threading.Event | None = None,
) -> threading.Event:
    """`owner.name` raises when that thread calls it, once `when` is set. Returns what is set when it did."""
    whole: Callable[..., Any] = getattr(owner, name)
    died = threading.Event()

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        if threading.current_thread().name.startswith(thread) and (when is None or when.is_set()):
            died.set()
            raise error("bits fell out")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(owner, name, broken)
    return died


def once_read(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the source is read: everything has been opened by then."""
    whole, read = SyntheticSource.read, threading.Event()

    def reading(self: SyntheticSource) -> Any:
        read.set()
        return whole(self)

    monkeypatch.setattr(SyntheticSource, "read", reading)
    return read


def last_status(recording: Path) -> Status:
    *_, last = Recording(recording).messages([STATUS])
    content = decode(last)
    assert isinstance(content, Status)
    return content


@pytest.mark.parametrize(
    ("owner", "name", "thread", "error"),
    [
        (RunStats, "status", "spark3r-heartbeat", MemoryError),
        (Publisher, "_publish_queued", "publisher", RuntimeError),
        (RelayProcess, "keep_running", "publisher", ZeroDivisionError),
        (SnapshotKeeper, "add", "publisher", MemoryError),
        (SyntheticSource, "read", "spark3r-producer", Fault),
        (ResultWriter, "add", "spark3r-files", ZeroDivisionError),
        (MapperProcess, "map", "spark3r-mapper", Fault),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value,
)
def test_a_worker_that_dies_ends_the_run_as_failed(
    owner: type,
    name: str,
    thread: str,
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    dies(monkeypatch, owner, name, thread, error, once_read(monkeypatch) if owner is not SyntheticSource else None)
    recording = tmp_path / "run.mcap"
    command = ["run", ENDLESS, "--publish", "tcp://127.0.0.1:*", "--record", recording, "--out", tmp_path / "o"]
    said = ""
    try:
        code = spark3r(monkeypatch, *command)
    except (Fault, ZeroDivisionError) as told:  # a fault of this program: the interpreter prints it and ends with 1
        code, said = 1, str(told)
    assert code == 1
    assert "bits fell out" in said + capfd.readouterr().err
    status = last_status(recording)
    assert status.state is SessionState.FAILED
    assert "bits fell out" in status.last_error


def test_a_publisher_that_dies_while_the_model_is_loaded_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    died = dies(monkeypatch, RelayProcess, "keep_running", "publisher", ZeroDivisionError)
    whole: Callable[..., Any] = run.build_reconstructor

    def slow(*arguments: Any) -> Any:
        found = whole(*arguments)
        assert died.wait(60)
        time.sleep(0.5)  # for what died to be heard of
        return found

    monkeypatch.setattr(run, "build_reconstructor", slow)
    assert spark3r(monkeypatch, "run", ENDLESS, "--publish", "tcp://127.0.0.1:*", "--out", tmp_path / "o") == 1
    assert "bits fell out" in capfd.readouterr().err


def test_a_recorder_that_dies_lets_the_run_end_and_fails_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    dies(monkeypatch, Recorder, "_write", "recorder", ZeroDivisionError)
    mapping = partial(spark3r, monkeypatch, "run", SHORT)
    assert mapping("--record", tmp_path / "run.mcap", "--out", tmp_path / "o") == 1
    told = capfd.readouterr().err
    assert "mapping goes on" in told
    assert "bits fell out" in told
    assert "bits fell out" in told.splitlines()[-1]
    assert len((tmp_path / "o" / "trajectory.txt").read_text().splitlines()) >= 4


def test_a_recorder_that_dies_while_it_is_closed_fails_the_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Recorder) -> dict[str, int]:
        if threading.current_thread().name == "recorder":
            raise ZeroDivisionError("bits fell out")
        return {}

    monkeypatch.setattr(Recorder, "dropped", property(broken))
    assert spark3r(monkeypatch, "run", SHORT, "--record", tmp_path / "r.mcap") == 1
    assert "bits fell out" in capfd.readouterr().err
