"""SIGINT and SIGTERM at any moment: the run ends, what it wrote is whole, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from spark3r_stream.outputs.ply import read_ply
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.messages import SessionState
from tests.faults.engine_process import SYNTHETIC, Engine, descendants

# A signal before the program could prepare for it ends it as any other: a shell calls that 130 and 143, too.
CUT_SHORT = {signal.SIGINT: {130, -signal.SIGINT}, signal.SIGTERM: {143, -signal.SIGTERM}}


def check_files(out: Path, recording: Path, processed: int | None) -> None:
    """Every file that is there is whole. processed: frames that must be in them; None: any number."""
    if (out / "stats.json").exists():
        stats = json.loads((out / "stats.json").read_text())
        rows = [line for line in (out / "trajectory.txt").read_text().splitlines() if not line.startswith("#")]
        assert len(rows) == stats["frames"]["processed"]
        assert processed is None or len(rows) == processed
        read_ply(out / "cloud.ply")
        assert (out / "preview.png").read_bytes()[-8:-4] == b"IEND"
    else:
        assert not processed
    if recording.exists() and recording.stat().st_size:
        assert Recording(recording).info().complete
    assert not list(out.glob("*.tmp*"))


def test_a_signal_ends_the_wait_for_a_camera_that_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        recording = tmp_path / "a.mcap"
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/stream"
        with Engine(url, "--record", recording, "--out", tmp_path / "out") as engine:
            connection, _ = silent.accept()
            children = descendants(engine.pid)
            began = time.monotonic()
            engine.signal(signal.SIGTERM)
            assert engine.wait(60) == 143, engine.err
            # FFmpeg gives up after ten seconds by itself: the end must come from the signal
            assert time.monotonic() - began < 8
            connection.close()
        assert "Traceback" not in engine.err
        assert children
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert not list(tmp_path.glob("a.mcap*"))  # nothing came, so nothing is left


@pytest.mark.fault
def test_a_second_signal_ends_a_run_at_once(tmp_path: Path) -> None:
    with Engine(SYNTHETIC, "--publish", f"ipc://{tmp_path}/a.sock") as engine:
        engine.wait_frames(1)
        engine.signal(signal.SIGINT)
        engine.signal(signal.SIGINT)
        assert engine.wait(30) == 130


@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.parametrize("live", [False, True])
def test_a_signal_at_any_moment_leaves_whole_files(tmp_path: Path, live: bool) -> None:
    source = SYNTHETIC + ("&live=1" if live else "")
    began = time.monotonic()
    with Engine(source, "--out", tmp_path / "first", "--record", tmp_path / "first.mcap") as engine:
        engine.wait_frames(1)
        start_s = time.monotonic() - began
        engine.signal(signal.SIGINT)
        assert engine.wait() == (0 if live else 130), engine.err
    check_files(tmp_path / "first", tmp_path / "first.mcap", len(engine.lines))
    for step in range(8):  # while it imports, loads, opens, runs for a moment
        number = (signal.SIGINT, signal.SIGTERM)[step % 2]
        out, recording = tmp_path / f"out{step}", tmp_path / f"{step}.mcap"
        with Engine(source, "--out", out, "--record", recording) as engine:
            time.sleep(start_s * 1.2 * step / 7)
            engine.signal(number)
            code = engine.wait()
        assert code in CUT_SHORT[number] | ({0} if live else set()), (step, code, engine.err)
        assert "Traceback" not in engine.err or code == -signal.SIGINT, engine.err  # Python's own, before we run
        check_files(out, recording, len(engine.lines) or None)


@pytest.mark.fault
def test_a_killed_mapper_fails_the_run_and_leaves_whole_files(tmp_path: Path) -> None:
    """Its map is gone: the run ends as failed, says why, and keeps what was published."""
    out, recording = tmp_path / "out", tmp_path / "a.mcap"
    with Engine(SYNTHETIC, "--out", out, "--record", recording) as engine:
        engine.wait_frames(3)
        mappers = [pid for pid in descendants(engine.pid) if "run" in Path(f"/proc/{pid}/cmdline").read_text()]
        assert len(mappers) == 1  # a fork: its command line is the engine's
        os.kill(mappers[0], signal.SIGKILL)
        assert engine.wait(60) == 1
    assert "the mapping process ended unexpectedly (signal 9" in engine.err
    assert "Traceback" not in engine.err
    check_files(out, recording, None)
    states = [decode(message).state for message in Recording(recording).messages(["/status/"])]
    assert states[-1] is SessionState.FAILED
