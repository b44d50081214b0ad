"""Engine and subscribers as processes of their own: late, killed and stopped subscribers never disturb the engine."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.messages import FrameResult, SessionState, Status

ROOT = Path(__file__).parents[3]
FRAMES = 30


def start(*arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spark3r_stream.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=stdin, text=True, cwd=ROOT)


def start_engine(endpoint: str, *more: str) -> subprocess.Popen[str]:
    source = f"synthetic:room?frames={FRAMES}&size=96x72&augment=0&live=1&fps=10"
    return start("run", source, "--weights", "random", "--size", "96", "--publish", endpoint, "--json", *more)


def test_subscribers_come_late_die_and_return_and_the_engine_does_not_care(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/engine.sock"
    faithful = start("echo", endpoint, "--json", "--timeout", "60")
    doomed = start("echo", endpoint, "--json")
    stopped = start("echo", endpoint, "--topic", "/cloud/", "--json", "--timeout", "60")
    engine = start_engine(endpoint)
    reading = ThreadPoolExecutor(1).submit(engine.communicate, timeout=100)  # a full pipe would stop it
    assert doomed.stdout is not None
    first = json.loads(doomed.stdout.readline())
    doomed.kill()
    os.kill(stopped.pid, signal.SIGSTOP)
    with Subscriber(endpoint, ["/frame/", "/status/"]) as late:
        seen: list[FrameResult | Status] = []
        while not (seen and isinstance(seen[-1], Status) and seen[-1].state is SessionState.ENDED):
            message = late.poll(60.0)
            assert message is not None
            content = decode(message)
            assert isinstance(content, FrameResult | Status)
            seen.append(content)
        os.kill(stopped.pid, signal.SIGCONT)
        results = [content for content in seen if isinstance(content, FrameResult)]
        assert late.missed["/frame/"] == 0
    out, err = reading.result()
    assert engine.returncode == 0, err
    own = [json.loads(line) for line in out.splitlines()]
    heard = [json.loads(line) for line in faithful.communicate(timeout=60)[0].splitlines()]
    clouds, said = stopped.communicate(timeout=60)
    assert first["frame_id"] == 0
    assert [r["frame_id"] for r in heard] == [r["frame_id"] for r in own]
    assert [r["translation"] for r in heard] == [r["translation"] for r in own]
    assert results[0].frame_id > 0  # it came late, and knows from where on
    assert [r.frame_id for r in results] == [r["frame_id"] for r in own if r["frame_id"] >= results[0].frame_id]
    assert stopped.returncode == 0, said
    assert clouds.count("\n") > 0
    handled = len(own) + sum(sum(r["drops_since_last"].values()) for r in own)
    assert handled == FRAMES  # every frame of the camera is a result or a counted loss


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The recording of a run of eight frames, and the run's JSON lines."""
    folder = tmp_path_factory.mktemp("recorded")
    recording = folder / "run.mcap"
    engine = start_engine(f"ipc://{folder}/engine.sock", "--record", str(recording), "--max-frames", "8")
    out, err = engine.communicate(timeout=90)
    assert engine.returncode == 0, err
    return recording, out


def test_record_inspect_and_replay(tmp_path: Path, recorded: tuple[Path, str]) -> None:
    recording, out = recorded
    again = f"ipc://{tmp_path}/replay.sock"
    listener = start("echo", again, "--json", "--count", "8", "--timeout", "60")
    replay = start("replay", str(recording), "--publish", again, "--loop")
    inspected = start("inspect", str(recording), "--json")
    info = json.loads(inspected.communicate(timeout=60)[0])
    assert inspected.returncode == 0
    assert info["counts"]["/frame/"] == 8
    assert info["counts"]["/decisions/"] >= 1
    heard = [json.loads(line) for line in listener.communicate(timeout=60)[0].splitlines()]
    replay.send_signal(signal.SIGINT)
    replay.communicate(timeout=30)
    assert replay.returncode == 0
    own = {line["frame_id"]: line for line in map(json.loads, out.splitlines())}
    assert len(heard) == 8
    assert all(h["translation"] == own[h["frame_id"]]["translation"] for h in heard)


def test_a_replay_waits_for_those_who_are_to_see_all_of_it(tmp_path: Path, recorded: tuple[Path, str]) -> None:
    endpoint = f"ipc://{tmp_path}/replay.sock"
    replay = start("replay", str(recorded[0]), "--publish", endpoint, "--wait-subscribers", "2", "--rate", "20")
    with Subscriber(endpoint, ["/frame/"], timeout_s=1) as first:
        assert first.wait_connected(30)
        assert list(first) == []  # one is not enough
        with Subscriber(endpoint, ["/frame/"]) as second:
            for subscriber in (first, second):
                frames = [subscriber.poll(30) for _ in range(8)]
                assert [None if frame is None else frame.envelope.sequence for frame in frames] == list(range(8))
    assert replay.wait(30) == 0


def test_a_replay_begins_paused(tmp_path: Path, recorded: tuple[Path, str]) -> None:
    endpoint = f"ipc://{tmp_path}/replay.sock"
    arguments = ("replay", str(recorded[0]), "--publish", endpoint, "--start-paused", "--rate", "20")
    replay = start(*arguments, stdin=subprocess.PIPE)
    assert replay.stdin is not None
    with Subscriber(endpoint, ["/frame/"], timeout_s=1) as subscriber:
        assert subscriber.wait_connected(30)
        assert list(subscriber) == []
        replay.stdin.write("\n")
        replay.stdin.close()  # whoever let it go may leave
        frames = [subscriber.poll(30) for _ in range(8)]
        assert [None if frame is None else frame.envelope.sequence for frame in frames] == list(range(8))
    assert replay.wait(30) == 0
    for lines in ("", "\n\n"):  # nobody there; let go and held again, unless it is over by then
        stuck = start(*arguments[:-2], "--rate", "0.01", stdin=subprocess.PIPE)
        _, err = stuck.communicate(lines, timeout=30)
        assert stuck.returncode == 1
        assert "--start-paused waits for a line" in err


def test_a_recording_becomes_a_picture(tmp_path: Path, recorded: tuple[Path, str]) -> None:
    picture = tmp_path / "map.png"
    view = start("view", str(recorded[0]), "--offscreen", str(picture))
    _, err = view.communicate(timeout=90)
    assert view.returncode == 0, err
    assert picture.stat().st_size > 1000
