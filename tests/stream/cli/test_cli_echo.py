"""`spark3r echo` before there is a publisher, and how it takes the name of a topic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spark3r_stream.cli import echo
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.encode import encode_frame, encode_status
from spark3r_stream.wire.envelope import SCHEMA_MAJOR, SCHEMA_MINOR, Sealer
from spark3r_stream.wire.messages import CapturedClock, SessionState, Status
from tests.helpers import spark3r
from tests.helpers_wire import SESSION, make_output

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("topic", ["frame", "/frame/", "/frame", "frame/"])
def test_echo_says_what_it_waits_for_and_goes_on(topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"ipc://{tmp_path}/socket"
    quick = "import sys; from spark3r_stream.cli import echo, main; echo.WORD_AFTER_S = 0.0; main.main()"
    command = [sys.executable, "-c", quick, "echo", endpoint, "--topic", topic, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line == f"spark3r: no publisher on {endpoint} yet; waiting until one comes (--timeout ends it)\n"
    sealer = Sealer(SESSION, lambda: 1, CapturedClock.SOURCE, replay=True)
    with Publisher(endpoint, SESSION) as publisher:
        while not publisher.subscribers:
            assert process.poll() is None
        publisher.send(sealer.seal(encode_frame(make_output(3))))
        publisher.send(sealer.seal([encode_status(Status(SessionState.ENDED, "source"), 0)]))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (shown,) = map(json.loads, out.splitlines())
    assert shown["frame_id"] == 3
    envelope = {"topic": "/frame/", "sequence": 0, "session_id": str(SESSION), "published_ns": 1, "replay": True}
    assert envelope.items() <= shown.items()
    assert shown["captured_clock"] == "SOURCE"
    assert shown["schema_version"] == f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}"


def test_echo_gives_up_after_its_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(echo, "WORD_AFTER_S", 0.0)
    assert spark3r(monkeypatch, "echo", f"ipc://{tmp_path}/socket", "--timeout", "0.2") == 1
    word, error = capfd.readouterr().err.splitlines()
    assert "waiting for 0.2 s more" in word
    assert error.startswith("spark3r: error: nothing came from")


def test_a_topic_that_is_none_is_named_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "echo", f"ipc://{tmp_path}/socket", "--topic", "frames") == 1
    assert "unknown topic '/frames/'; expected one of /frame/" in capfd.readouterr().err
