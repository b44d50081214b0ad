"""Asking a fleet through its socket file, with real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark3r_stream.config import ConfigError
from spark3r_stream.errors import StreamError
from spark3r_stream.fleet import desk as desk_module
from spark3r_stream.fleet.desk import MAX_LINE_BYTES, Desk, Request, ask, desk_folder, desk_path, running_fleets
from tests.helpers import spark3r


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    desk, over = Desk("site"), threading.Event()

    def answer(request: Request) -> object:
        if request["what"] == "remove":
            raise ConfigError(f"there is no camera {request['camera']}")
        return {"asked": request}

    def serve() -> None:
        while not over.wait(0.01):
            desk.serve(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield desk
    over.set()
    thread.join()
    desk.close()


def test_who_asks_is_answered_and_told_what_is_refused(desk: Desk) -> None:
    assert running_fleets() == ["site"]
    assert ask("site", {"what": "status"}) == {"asked": {"what": "status"}}
    with pytest.raises(StreamError, match="there is no camera roof"):
        ask("site", {"what": "remove", "camera": "roof"})
    with pytest.raises(ConfigError, match="no fleet yard runs here"):
        ask("yard", {"what": "status"})


LONG = json.dumps({"what": "status", "more": "x" * MAX_LINE_BYTES}).encode()


@pytest.mark.parametrize("line", [b"", b"3", b"{", b"x" * 100_000, LONG, b"[" * 60_000], ids=lambda line: line[:20])
def test_noise_is_answered_and_nothing_else_happens(desk: Desk, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(desk_path("site")))
        sock.settimeout(10)
        try:
            sock.sendall(line + b"\n")
            said = sock.recv(1000)
        except ConnectionError:  # hung up on while it still wrote
            said = b"expected one line of JSON"
    assert b"expected one line of JSON" in said
    assert ask("site", {"what": "status"})


def test_one_who_says_nothing_does_not_hold_up_the_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "_REQUEST_S", 0.1)
    monkeypatch.setattr(desk_module, "_ANSWER_S", 10.0)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.connect(str(desk_path("site")))
        mute.sendall(b'{"what": ')
        assert ask("site", {"what": "status"})


def test_only_one_of_a_name_and_only_its_user(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    assert desk_path("site").stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="runs here already"):
        Desk("site")
    desk_folder().chmod(0o777)
    with pytest.raises(ConfigError, match="is not this user's alone"):
        ask("site", {"what": "status"})


def test_the_command_asks_the_only_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "fleet", "add", "roof=rtsp://roof/1", "--json") == 0
    assert '"source": "rtsp://roof/1"' in capfd.readouterr().out
    assert spark3r(monkeypatch, "fleet", "remove", "roof") == 1
    assert "there is no camera roof" in capfd.readouterr().err
    for arguments, words in (
        (("remove",), "needs the name"), (("add", "roof"), "NAME=SOURCE"), (("status", "gate"), "of the whole fleet"),
        (("walk",), "neither a .yaml file nor"), (("a.yaml", "--json"), "by its file alone"),
        (("status", "--name", "other"), "no fleet other runs here"),
    ):  # fmt: skip
        assert spark3r(monkeypatch, "fleet", *arguments) == 1
        assert words in capfd.readouterr().err


def test_what_was_refused_as_too_busy_is_not_done_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(desk_module, "_ANSWER_S", 0.2)
    busy, done = Desk("site"), []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(desk_path("site")))
        sock.settimeout(10)
        sock.sendall(b'{"what": "remove", "camera": "roof"}\n')
        assert b"too busy" in sock.recv(1000)
    busy.serve(done.append)
    assert done == []
    busy.close()
