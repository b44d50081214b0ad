"""What each command of the README promises, and the shell of the newcomer who types it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LINE_S = 1800.0  # an installation may take long
SOON_S = 120.0  # within this a program that goes on must do what it should
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Ended:
    """out, err: what it wrote, as text."""

    out: str
    err: str


@dataclass
class Newcomer:
    """Types into shells in one folder.

    environment: of those shells. snippet: the README's subscriber. video: Python that makes video.mp4.
    session: lines that stay in force, such as the activation of an environment. ended: the last program that ended.
    going_on: lines and programs in other terminals.
    """

    folder: Path
    environment: dict[str, str]
    snippet: str
    video: str
    session: list[str] = field(default_factory=list)
    ended: Ended = field(default_factory=lambda: Ended("", ""))
    going_on: list[tuple[str, subprocess.Popen[str]]] = field(default_factory=list)

    def run(self, line: str, expected: int = 0) -> Ended:
        """Raises AssertionError unless it ends with that code."""
        done = subprocess.run(
            self._shell(line),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LINE_S,
            check=False,
        )
        assert done.returncode == expected, f"`{line}` ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.stdout, done.stderr)

    def start(self, line: str) -> subprocess.Popen[str]:
        """A program in another terminal."""
        program = subprocess.Popen(
            self._shell(f"exec {line}"),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.going_on.append((line, program))
        return program

    def interrupt(self) -> Ended:
        """Ctrl-C for what was started last."""
        line, program = self.going_on.pop()
        program.send_signal(signal.SIGINT)
        return self._ended(line, program)

    def wait(self) -> Ended:
        """For what was started last, which ends by itself."""
        return self._ended(*self.going_on.pop())

    def end_all(self) -> None:
        """Waits for what goes on; it has to end well, by itself."""
        while self.going_on:
            self.wait()

    def kill_all(self) -> None:
        for _, program in self.going_on:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
            program.communicate()

    def files(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            assert path.is_file(), f"{name} is not there"
            assert path.stat().st_size, f"{name} is empty"

    def _ended(self, line: str, program: subprocess.Popen[str]) -> Ended:
        out, err = program.communicate(timeout=SOON_S)
        assert program.returncode == 0, f"`{line}` ended with {program.returncode}:\n{out}{err}"
        return Ended(out, err)

    def _shell(self, line: str) -> list[str]:
        return ["bash", "-e", "-c", "\n".join([*self.session, line])]


@dataclass(frozen=True)
class Step:
    """expected: exit code. goes_on: the line is left running while the next are typed. is_for_the_session: it changes
    the shell."""

    check: Callable[[Newcomer], None] | None = None
    expected: int = 0
    goes_on: bool = False
    is_for_the_session: bool = False


def without_camera(newcomer: Newcomer) -> None:
    """Here is no camera: one line says so. Then a video is found."""
    lines = newcomer.ended.err.strip().splitlines()
    assert [line for line in lines if line.startswith("spark3r: error: ")], newcomer.ended.err
    (newcomer.folder / "make_video.py").write_text(newcomer.video)
    newcomer.run("python3 make_video.py")


def results(newcomer: Newcomer) -> None:
    newcomer.files(*(f"result/{name}" for name in ("trajectory.txt", "cloud.ply", "intrinsics.json", "stats.json")))
    poses = (newcomer.folder / "result" / "trajectory.txt").read_text().splitlines()
    assert len([line for line in poses if line and not line.startswith("#")]) == 60, len(poses)
    is_png(newcomer, "result/preview.png")


def is_png(newcomer: Newcomer, name: str) -> None:
    assert (newcomer.folder / name).read_bytes().startswith(PNG), f"{name} is no picture"


def said(pattern: str) -> Callable[[Newcomer], None]:
    """The last line printed this, on either stream."""

    def check(newcomer: Newcomer) -> None:
        text = newcomer.ended.out + newcomer.ended.err
        assert re.search(pattern, text), f"no {pattern!r} in\n{text}"

    return check


def page_is_served(newcomer: Newcomer) -> None:
    program = newcomer.going_on[-1][1]
    assert program.stderr is not None
    line = program.stderr.readline()
    address = re.search(r"http://\S+", line)
    assert address, line
    with urllib.request.urlopen(address[0], timeout=SOON_S) as answer:
        assert b"<html" in answer.read()
    newcomer.interrupt()


def frames_are_printed(newcomer: Newcomer) -> None:
    assert len(re.findall(r"^frame \d+ ", newcomer.ended.out, re.MULTILINE)) >= 10, newcomer.ended.out
    newcomer.end_all()
    (newcomer.folder / "subscriber.py").write_text(newcomer.snippet)
    newcomer.start("python3 subscriber.py")  # the README's program, for the replay that is typed next


def snippet_saw_frames(newcomer: Newcomer) -> None:
    seen = newcomer.wait()
    assert len(re.findall(r"^\d+ [A-Z_]+ submap_\d+ ", seen.out, re.MULTILINE)) >= 10, seen.out + seen.err


FOR_THE_ENVIRONMENT = (
    "python3 -m venv .venv",
    ". .venv/bin/activate",
    "pip install -c constraints.txt '.[engine,view]'",
)
STEPS = {
    FOR_THE_ENVIRONMENT[0]: Step(lambda newcomer: newcomer.files(".venv/bin/activate")),
    FOR_THE_ENVIRONMENT[1]: Step(is_for_the_session=True),
    FOR_THE_ENVIRONMENT[2]: Step(),
    "spark3r run webcam:0 --view": Step(without_camera, expected=1),
    "spark3r run video.mp4 --out result": Step(results),
    "spark3r run video.mp4 --record today.mcap --map room.s3rmap": Step(
        lambda newcomer: newcomer.files("today.mcap", "room.s3rmap")
    ),
    "spark3r inspect today.mcap": Step(said(r"60")),
    "spark3r run today.mcap": Step(said(r"(?i)equal")),
    "spark3r view today.mcap": Step(page_is_served, goes_on=True),
    "spark3r view result --offscreen map.png": Step(lambda newcomer: is_png(newcomer, "map.png")),
    "spark3r run video.mp4 --map room.s3rmap --localise": Step(said("5[0-9] frames reconstructed")),
    "spark3r export room.s3rmap --to colmap --out room_colmap": Step(
        lambda newcomer: newcomer.files("room_colmap/sparse/0/cameras.bin", "room_colmap/sparse/0/images.txt")
    ),
    "spark3r run video.mp4 --pace realtime --publish tcp://127.0.0.1:5555": Step(goes_on=True),
    "spark3r echo tcp://127.0.0.1:5555": Step(frames_are_printed),
    "spark3r replay today.mcap": Step(snippet_saw_frames),
    "spark3r models": Step(said(r"(?s)bundled.*da3-small")),
    "spark3r doctor": Step(said(r"torch")),
}
