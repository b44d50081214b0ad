"""The recorder while it runs: what is on disk by now, a queue that is full, a disk that is."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spark3r_stream.clock import SystemClock
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.wire import envelope as wire
from tests.helpers_wire import frames, make_sealer

REPOSITORY = Path(__file__).resolve().parents[3]


def test_a_running_recording_holds_all_but_the_last_moment(tmp_path: Path) -> None:
    """What is written within the flush interval is on disk without `close`: that is what a crash leaves."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, {}, SystemClock(), flush_interval_s=0.01)
    (batch,) = frames(make_sealer(), [0])
    recorder.send(batch)
    done = threading.Event()
    for _ in range(1000):
        if path.exists() and list(Recording(path).messages()) == batch:
            break
        done.wait(0.01)
    else:
        pytest.fail("nothing was flushed")
    size = path.stat().st_size
    recorder.close()
    assert path.stat().st_size > size
    assert Recording(path).info().complete


def test_what_does_not_fit_the_queue_is_counted_and_shows_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "slow.mcap"
    batches = frames(make_sealer(), range(3), size=(300, 400))
    depth = [next(m for m in batch if m.topic == wire.DEPTH) for batch in batches]
    with Recorder(path, {}, SystemClock(), queue_bytes=500_000) as recorder:
        recorder.send([depth[0], depth[1]])  # 480 kB each: the second finds no room, under one lock
        while not path.exists() or depth[0] not in list(Recording(path).messages()):
            threading.Event().wait(0.01)
        recorder.send([depth[2]])
    assert recorder.dropped == {wire.DEPTH: 1}
    info = Recording(path).info()
    assert info.dropped == {wire.DEPTH: 1}
    assert info.missed == {wire.DEPTH: 1}
    assert info.first_missed == {wire.DEPTH: depth[1].envelope.sequence}


DISK_FULL = """
import resource, sys, threading
from pathlib import Path
sys.path.insert(0, ".")
from spark3r_stream.clock import SystemClock
from spark3r_stream.recording.writer import Recorder
from tests.helpers_wire import frames, make_sealer
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
told = threading.Event()
recorder = Recorder(Path(sys.argv[1]), {}, SystemClock(), flush_interval_s=0.0, on_error=lambda error: told.set())
sealer, sent = make_sealer(), 0
while not told.wait(0.001):
    recorder.send(frames(sealer, [sent], size=(60, 80))[0])
    sent += 1
assert recorder.error is not None and "can be read" in str(recorder.error), recorder.error
before = sum(recorder.dropped.values())
late = frames(sealer, [sent])[0]
recorder.send(late)
assert sum(recorder.dropped.values()) == before + len(late)
recorder.close()
print(sent)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of a file as POSIX does")
def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "full.mcap"
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    recording = Recording(path)
    kept = [m.envelope.frame_id for m in recording.messages([wire.FRAME])]
    assert kept == list(range(len(kept)))
    assert len(kept) > 3
    assert not recording.info().complete
