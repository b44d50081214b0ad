"""A newcomer follows the README: every command of its code blocks, as written, in order, in a clean folder.

    python tools/newcomer.py                       # makes the environment that the README asks for: some minutes
    python tools/newcomer.py --installed           # with the environment that runs this

Each line has to end well and to do what the README says of it (newcomer_steps.py has a check for each). The folder
holds what is committed and a short video, and is kept with --keep.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.newcomer_steps import FOR_THE_ENVIRONMENT, STEPS, Newcomer, Step
from tools.pages import ROOT, commands, python_blocks

README = ROOT / "README.md"
SHELL = ("spark3r", "python3", "pip", ".")
VIDEO = """
import av
from spark3r_core.synthetic.sequence import SyntheticSequence
with av.open("video.mp4", "w") as video:
    stream = video.add_stream("libx264", rate=30)
    stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
    sequence = SyntheticSequence(12, 60, world_kind="room")
    for index in range(60):
        video.mux(stream.encode(av.VideoFrame.from_ndarray(sequence.frame(index)[0], format="rgb24")))
    video.mux(stream.encode(None))
"""


def lines_of_readme() -> list[str]:
    return [typed.text for typed in commands(README, SHELL)]


def clean_folder(folder: Path) -> None:
    """What is committed or about to be, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def follow(newcomer: Newcomer, *, installed: bool) -> None:
    """Raises AssertionError with the line that did not do what it promises."""
    for line in lines_of_readme():
        if installed and line in FOR_THE_ENVIRONMENT:
            continue
        started_s = time.monotonic()
        step = STEPS[line]
        print(f"$ {line}", flush=True)
        _take(newcomer, line, step)
        print(f"  as promised, {time.monotonic() - started_s:.0f} s", flush=True)
        if line == FOR_THE_ENVIRONMENT[-1]:
            newcomer.run("spark3r --help")
    newcomer.end_all()


def _take(newcomer: Newcomer, line: str, step: Step) -> None:
    if step.is_for_the_session:
        newcomer.session.append(line)
    elif step.goes_on:
        newcomer.start(line)
    else:
        newcomer.ended = newcomer.run(line, expected=step.expected)
    if step.check is not None:
        step.check(newcomer)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--installed", action="store_true", help="use the environment that runs this")
    parser.add_argument("--keep", type=Path, help="a new folder, which is kept")
    given = parser.parse_args(arguments)
    folder = given.keep or Path(tempfile.mkdtemp(prefix="spark3r-newcomer-"))
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if given.installed:
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment["PYTHONPATH"] = str(folder)
    newcomer = Newcomer(folder, environment, python_blocks(README)[0], VIDEO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        clean_folder(folder)
        follow(newcomer, installed=given.installed)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        print(f"newcomer: {error}", file=sys.stderr)
        return 1
    finally:
        newcomer.kill_all()
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print("the README holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
