"""Every command that a page shows is one that the program understands; every option that is spoken of exists."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tyro

from spark3r_stream.cli.commands import COMMANDS
from spark3r_stream.config import ConfigError, RunConfig
from tools.pages import PAGES, ROOT, Typed, commands, spoken_of

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# Options of other programs that pages speak of.
# ros2 bag play; every program that tyro parses for; ray start
OF_OTHERS = {"--clock", "--tyro-print-completion", "--head", "--address", "--resources"}

pytestmark = pytest.mark.filterwarnings("ignore:get_parser")  # what may take its place is not public yet


def parsed(line: str) -> dict[str, Any]:
    """What the command of this line would be called with, by the parser of the program itself.

    Raises SystemExit where the parser refuses it, ConfigError where the settings do not go together.
    """
    name, *arguments = shlex.split(line)[1:]
    values: dict[str, Any] = tyro.cli(
        _recorder(COMMANDS[name]), prog=f"spark3r {name}", args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
    )
    for value in values.values():
        if isinstance(value, RunConfig):
            value.check()
    return values


def _recorder(command: Callable[..., int]) -> Callable[..., dict[str, Any]]:
    @functools.wraps(command)
    def record(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return dict(inspect.signature(command).bind(*args, **kwargs).arguments)

    record.__annotations__ = {**command.__annotations__, "return": "dict[str, Any]"}
    return record


def options_of_source(path: Path) -> set[str]:
    """The options of an argparse script."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    names = (argument for call in calls for argument in call.args if isinstance(argument, ast.Constant))
    return {name.value for name in names if isinstance(name.value, str) and name.value.startswith("--")}


@functools.cache
def options_of(command: str) -> set[str]:
    parser = tyro.extras.get_parser(COMMANDS[command], config=(tyro.conf.FlagCreatePairsOff,))
    return {option for option in parser._option_string_actions if option.startswith("--")}


@functools.cache
def known_options() -> set[str]:
    found = set(OF_OTHERS)
    for command in COMMANDS:
        found |= options_of(command)
    for path in (*(ROOT / "tools").rglob("*.py"), *(ROOT / "examples").rglob("*.py")):
        found |= options_of_source(path)
    return found


def in_pages(*programs: str) -> list[Any]:
    return [pytest.param(typed, id=typed.where) for page in PAGES for typed in commands(page, programs)]


@pytest.mark.parametrize("typed", in_pages("spark3r"))
def test_commands_of_this_program(typed: Typed) -> None:
    try:
        parsed(typed.text)
    except (SystemExit, ConfigError, KeyError) as error:
        pytest.fail(f"{typed.where}: `{typed.text}` is refused: {error!r}")


@pytest.mark.parametrize(
    "line", ["spark3r run", "spark3r run a.mp4 --colour 3", "spark3r walk", "spark3r run a --fps 0"]
)
def test_a_wrong_command_would_be_noticed(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, ConfigError, KeyError)):
        parsed(line)


@pytest.mark.parametrize("typed", in_pages("python", "python3"))
def test_commands_that_run_a_script(typed: Typed) -> None:
    _, script, *arguments = shlex.split(typed.text)
    if script == "-m":
        assert arguments[0] in ("venv", "pytest", "spark3r_stream", "pip"), typed.where
        return
    assert (ROOT / script).is_file(), f"{typed.where}: {script} is not there"
    unknown = set(OPTION.findall(" ".join(arguments))) - options_of_source(ROOT / script)
    assert not unknown, f"{typed.where}: {script} knows no {unknown}"


@pytest.mark.parametrize("typed", in_pages("make"))
def test_targets_of_make(typed: Typed) -> None:
    for target in typed.text.split()[1:]:
        assert re.search(rf"^{target}\b[^=\n]*:", (ROOT / "Makefile").read_text(), re.MULTILINE), typed.where


@pytest.mark.parametrize("typed", in_pages("pip"))
def test_extras_of_pip(typed: Typed) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"(?:spark3r-stream|\.)\[([\w,-]+)\]", typed.text):
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), typed.where


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_and_commands_in_sentences(page: Path) -> None:
    wrong = []
    for typed in spoken_of(page):
        words = typed.text.split()
        named = set(OPTION.findall(typed.text))
        if words[0] == "spark3r" and len(words) > 1 and re.fullmatch(r"[a-z][a-z0-9-]*", words[1]):
            known = options_of(words[1]) if words[1] in COMMANDS else None
            if known is None or not named <= known:
                wrong.append(f"{typed.where}: `{typed.text}`")
        elif not named <= known_options():
            wrong.append(f"{typed.where}: `{typed.text}`")
    assert not wrong, "\n".join(wrong)
