"""What a user meets before anything works: no home, no permission, odd names, no extras. One line each."""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark3r_core.user_paths import expand_home
from spark3r_stream.plain_text import unicode_text
from tests.helpers import spark3r
from tests.helpers_media import moving_images, write_video

ROOT = Path(__file__).parents[3]
SMALL = ["--weights", "random", "--size", "96"]
VIDEO = "synthetic:room?frames=2&size=96x72&augment=0"

# Each command once for every file or folder that it takes; PATH stands for it.
USES_OF_A_PATH = {
    "run": ["run", "PATH", *SMALL],
    "run a recording": ["run", "PATH.mcap"],
    "run --weights": ["run", VIDEO, "--weights", "PATH"],
    "run --intrinsics": ["run", VIDEO, *SMALL, "--intrinsics", "PATH"],
    "run --keys": ["run", VIDEO, *SMALL, "--publish", "tcp://127.0.0.1:*", "--keys", "PATH"],
    "run --out": ["run", VIDEO, *SMALL, "--out", "PATH/out"],
    "run --record": ["run", VIDEO, *SMALL, "--record", "PATH/run.mcap"],
    "run --publish": ["run", VIDEO, *SMALL, "--publish", "ipc://PATH/socket"],
    "echo --keys": ["echo", "tcp://127.0.0.1:9", "--timeout", "0.1", "--keys", "PATH"],
    "echo --server-key": ["echo", "tcp://127.0.0.1:9", "--timeout", "0.1", "--keys", "KEYS", "--server-key", "PATH"],
    "view": ["view", "PATH.mcap"],
    "view --offscreen": ["view", "tcp://127.0.0.1:9", "--seconds", "0.1", "--offscreen", "PATH/map.png"],
    "view --keys": ["view", "tcp://127.0.0.1:9", "--seconds", "0.1", "--offscreen", "OUT", "--keys", "PATH"],
    "replay": ["replay", "PATH", "--publish", "tcp://127.0.0.1:*"],
    "inspect": ["inspect", "PATH"],
    "map info": ["map", "info", "PATH"],
    "map info --json": ["map", "info", "PATH", "--json"],
    "map export": ["map", "export", "PATH", "--to", "tum", "--out", "OUT"],
    "export": ["export", "PATH", "--to", "tum", "--out", "OUT"],
    "export a recording": ["export", "PATH.mcap", "--to", "ros2bag", "--out", "OUT"],
    "run --map": ["run", VIDEO, *SMALL, "--map", "PATH/room.s3rmap"],
    "reconstruct": ["reconstruct", "PATH", *SMALL, "--out", "OUT"],
    "reconstruct --out": ["reconstruct", VIDEO, *SMALL, "--out", "PATH/out"],
    "probe": ["probe", "PATH", *SMALL],
    "probe --save": ["probe", VIDEO.replace("frames=2", "frames=16"), *SMALL, "--save", "PATH/table.json"],
    "keys show": ["keys", "show", "--dir", "PATH"],
    "keys new": ["keys", "new", "--dir", "PATH/keys"],
    "demo": ["demo", "--out", "PATH/out", "--frames", "10"],
}
ODD_NAMES = {
    "nothing there": b"missing.mp4",
    "name of no user's home": b"~nobody-of-this-name",
    "name too long": b"n" * 300,
    "name that is not UTF-8": b"caf\xe9",
}


def arguments(use: str, path: Path, tmp_path: Path) -> list[str]:
    swaps = {"PATH": str(path), "KEYS": str(tmp_path / "keys"), "OUT": str(tmp_path / "result")}
    words = USES_OF_A_PATH[use]
    for name, value in swaps.items():
        words = [word.replace(name, value) for word in words]
    return words


def fails_in_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: list[str]) -> str:
    """Run it in this process, where a traceback is an exception that no one caught; the line it ends with."""
    capfd.readouterr()
    code = spark3r(monkeypatch, *command)
    _, err = capfd.readouterr()
    assert code != 0, command
    errors = [line for line in err.splitlines() if line.startswith("spark3r: error: ")]
    assert len(errors) == 1, (command, err)
    assert "Traceback" not in err
    assert err.rstrip().splitlines()[-1] == errors[0]
    return errors[0]


@pytest.fixture
def _no_privileges() -> Iterator[None]:
    """Permissions hold for root too: the capabilities to pass over them are put away for a while."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of capabilities 0-31, then of 32-63
    assert libc.capget(header, data) == 0
    effective = data[0]
    data[0] = effective & ~0b1110  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
    assert libc.capset(header, data) == 0
    yield
    data[0] = effective
    assert libc.capset(header, data) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="takes Linux's capabilities away")
@pytest.mark.usefixtures("_no_privileges")
@pytest.mark.parametrize("use", USES_OF_A_PATH)
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_without_permission_a_command_ends_in_one_line(
    use: str, closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "keys", "new", "--dir", tmp_path / "keys") == 0
    folder = tmp_path / "closed"
    folder.mkdir()
    path = folder / "file"
    for name in ("file", "file.mcap"):
        (folder / name).write_bytes(b"text")
        (folder / name).chmod(0)
    if closed == "folder":
        folder.chmod(0)
    try:
        fails_in_one_line(monkeypatch, capfd, arguments(use, path, tmp_path))
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("use", USES_OF_A_PATH)
@pytest.mark.parametrize("condition", ODD_NAMES)
def test_a_path_that_cannot_be_used_is_one_line(
    use: str, condition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "keys", "new", "--dir", tmp_path / "keys") == 0
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(ODD_NAMES[condition]))
    path_is_output = any(word.startswith(("PATH/", "ipc://PATH")) for word in USES_OF_A_PATH[use])
    if path_is_output and condition != "name too long":
        path.write_bytes(b"a file where a folder is needed")
    fails_in_one_line(monkeypatch, capfd, arguments(use, path, tmp_path))


@pytest.fixture
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "XDG_CACHE_HOME", "SPARK3R_WEIGHTS", "USER", "LOGNAME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("_no_home")
def test_without_a_home_commands_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert spark3r(monkeypatch, "run", VIDEO, *SMALL, "--out", "out", "--record", "run.mcap") == 0
    for command in (["models"], ["cameras"], ["inspect", "run.mcap"], ["run", "run.mcap"], ["doctor"]):
        assert spark3r(monkeypatch, *command) == 0, command
    assert "set $SPARK3R_WEIGHTS" in capfd.readouterr().out
    line = fails_in_one_line(monkeypatch, capfd, ["run", VIDEO, "--model", "pi3"])
    assert "set $SPARK3R_WEIGHTS" in line
    assert "no home folder" in fails_in_one_line(monkeypatch, capfd, ["models", "get", "da3-small"])
    fails_in_one_line(monkeypatch, capfd, ["keys", "show"])
    fails_in_one_line(monkeypatch, capfd, ["run", "~/holiday.mp4"])


def in_a_process(tmp_path: Path, sitecustomize: str, *command: str, **environment: str) -> tuple[int, str, str]:
    """The command line in an interpreter that first runs `sitecustomize`: exit code, stdout, stderr."""
    (tmp_path / "sitecustomize.py").write_text(sitecustomize)
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-m", "spark3r_stream.cli.main", *command],
        env={**kept, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


NO_USER = """
import pwd
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
"""


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["keys", "--help"]], ids=str)
def test_without_a_home_there_is_help(command: list[str], tmp_path: Path) -> None:
    code, out, _ = in_a_process(tmp_path, NO_USER, *command)
    assert code == 0
    assert "usage" in out.lower()


NO_EXTRAS = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    if name.partition(".")[0] not in ("torch", "cv2", "av", "safetensors", "PIL", "viser", "open3d", "huggingface_hub"):
        return found(name, path, target)
PathFinder.find_spec = find_spec
"""


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["run", VIDEO, "--out", "out"], "engine"),
        (["run", "pictures"], "engine"),
        (["run", "clip.mp4"], "engine"),
        (["reconstruct", VIDEO, "--out", "out"], "engine"),
        (["probe", VIDEO], "engine"),
        (["demo", "--frames", "10"], "engine"),
        (["models"], "engine"),
        (["models", "get", "da3-small"], "engine"),
        (["view", "tcp://127.0.0.1:9", "--offscreen", "map.png", "--seconds", "0"], "view"),
        (["view", "tcp://127.0.0.1:9"], "view"),
    ],
    ids=str,
)
def test_without_extras_one_line_names_the_extra(command: list[str], extra: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(b"")
    (tmp_path / "clip.mp4").write_bytes(b"")
    code, _, err = in_a_process(tmp_path, NO_EXTRAS, *command)
    assert code == 1
    lines = [line for line in err.splitlines() if line.startswith("spark3r: error: ")]
    assert len(lines) == 1, err
    assert f"spark3r-stream[{extra}]" in lines[0]


def test_without_extras_a_subscriber_is_complete(tmp_path: Path) -> None:
    code, out, err = in_a_process(tmp_path, NO_EXTRAS, "doctor")
    assert code == 0, out + err
    assert "spark3r-stream[engine]" in out
    for command in (["--help"], ["cameras"], ["keys", "new", "--dir", "keys"], ["keys", "show", "--dir", "keys"]):
        assert in_a_process(tmp_path, NO_EXTRAS, *command)[0] == 0, command
    code, _, err = in_a_process(tmp_path, NO_EXTRAS, "echo", "tcp://127.0.0.1:9", "--timeout", "0.1")
    assert code == 1
    assert "nothing came from" in err


def test_a_name_beginning_with_a_tilde_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("~holiday.mp4"), moving_images(2, 96, 72))
    assert spark3r(monkeypatch, "run", "~holiday.mp4", *SMALL, "--out", "out") == 0
    assert expand_home("~holiday.mp4") == Path("~holiday.mp4")
    monkeypatch.setenv("HOME", "/somewhere")
    assert expand_home("~/holiday.mp4") == Path("/somewhere/holiday.mp4")


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_a_name_that_is_not_utf8_is_published_recorded_and_run_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9.mp4" if kind == "video" else b"caf\xe9")
    images = moving_images(2, 96, 72)
    if kind == "video":
        write_video(tmp_path / "clip.mp4", images).rename(source)
    else:
        from PIL import Image

        source.mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(source / f"{number}.png")
    outputs = ["--out", tmp_path / "out", "--publish", "tcp://127.0.0.1:*", "--record", tmp_path / "run.mcap"]
    assert spark3r(monkeypatch, "run", source, *SMALL, *outputs) == 0
    assert spark3r(monkeypatch, "run", tmp_path / "run.mcap", "--json") == 0
    assert spark3r(monkeypatch, "inspect", tmp_path / "run.mcap") == 0
    assert "caf\\udce9" in capfd.readouterr().out


def test_text_that_is_not_unicode_is_spelled_out() -> None:
    assert unicode_text("plain é 東") == "plain é 東"
    assert unicode_text(os.fsdecode(b"caf\xe9")) == "caf\\udce9"
    assert unicode_text("\ud800") == "\\ud800"
