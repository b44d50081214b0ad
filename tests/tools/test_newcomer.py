"""The newcomer's script knows every command of the README, and notices what does not hold."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tools.newcomer import lines_of_readme, main
from tools.newcomer_steps import STEPS, Newcomer, said


def test_it_has_a_check_for_every_line_of_the_readme_and_for_no_other() -> None:
    assert lines_of_readme() == list(STEPS)


def test_a_line_that_fails_and_one_that_says_something_else_are_noticed(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, {"PATH": "/usr/bin:/bin"}, "", "")
    newcomer.session.append("cd /")
    newcomer.ended = newcomer.run("pwd")
    assert newcomer.ended.out == "/\n"
    said("^/$")(newcomer)
    with pytest.raises(AssertionError, match="no 'home' in"):
        said("home")(newcomer)
    with pytest.raises(AssertionError, match=r"`ls /nowhere` ended with 2"):
        newcomer.run("ls /nowhere")
    with pytest.raises(AssertionError, match="nothing is not there"):
        newcomer.files("nothing")


def test_what_goes_on_is_interrupted_and_has_to_end_well(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, {"PATH": "/usr/bin:/bin"}, "", "")
    program = newcomer.start("sleep 50")
    while (
        psutil.Process(program.pid).name() != "sleep"
    ):  # until then it is the shell, which may take the signal as its own
        time.sleep(0.01)
    with pytest.raises(AssertionError, match="`sleep 50` ended with -2"):
        newcomer.interrupt()
    newcomer.start("true")
    newcomer.end_all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_readme_holds() -> None:
    assert main(["--installed"]) == 0
