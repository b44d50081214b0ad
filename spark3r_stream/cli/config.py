"""Options that are set once: in a file, by command, and in variables SPARK3R_<COMMAND>_<OPTION>.

Both become arguments that stand before those that were typed, so a file yields to a variable and both to the command
line, and all pass the same checks. The file is TOML:

    [run]
    device = "cuda"
    publish = "tcp://127.0.0.1:5555"
"""

from __future__ import annotations

import difflib
import inspect
import json
import os
import tomllib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from spark3r_core.user_paths import config_dir, expand_home
from spark3r_stream.config import ConfigError, RunConfig, option_name
from spark3r_stream.plain_text import cleaned

VARIABLE = "SPARK3R_CONFIG"  # names the file
FILE_NAME = "config.toml"
MAX_FILE_BYTES = 1 << 20
SOURCES = ("source", "others")  # stand without a name
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")

Commands = Mapping[str, Callable[..., int]]


@dataclass(frozen=True)
class Setting:
    """An option that was set. value: None leaves it at its default. origin: the file or the variable."""

    command: str
    option: str
    value: str | bool | None
    origin: str

    @property
    def arguments(self) -> list[str]:
        """As they would be typed."""
        name = option_name(self.option)
        if isinstance(self.value, bool):
            return [name] if self.value else []
        return [] if self.value is None else [name, self.value]


def with_settings(arguments: list[str], commands: Commands) -> tuple[list[str], list[Setting]]:
    """The arguments of a command with those that are set for it before the typed ones, and what was set."""
    if not arguments or arguments[0] not in commands or "--help" in arguments or "-h" in arguments:
        return arguments, []
    mine = [one for one in read_settings(commands, os.environ) if one.command == arguments[0]]
    set_before = [word for one in mine for word in one.arguments]
    return [arguments[0], *set_before, *arguments[1:]], mine


def read_settings(commands: Commands, environment: Mapping[str, str]) -> list[Setting]:
    """All that is set: by the file, then by variables, which go before it. Raises ConfigError for what is no option."""
    path = config_file(environment)
    found = {(one.command, one.option): one for one in (_of_file(path, commands) if path is not None else [])}
    found |= {(one.command, one.option): one for one in _of_variables(commands, environment)}
    return list(found.values())


def config_file(environment: Mapping[str, str]) -> Path | None:
    """Where the file is, or would be; None where nobody knows the user's folder. Raises ConfigError if the variable
    names one that is not there."""
    if named := environment.get(VARIABLE):
        if not expand_home(named).is_file():
            raise ConfigError(f"${VARIABLE} names {named}, and there is no such file")
        return expand_home(named)
    folder = config_dir()
    return None if folder is None else folder / FILE_NAME


def options_of(command: Callable[..., int]) -> dict[str, bool]:
    """Its options, and whether each is a flag; what stands without a name is none."""
    found: dict[str, bool] = {}
    hints = typing.get_type_hints(command, include_extras=True)
    for name in inspect.signature(command).parameters:
        hint, marks = hints[name], typing.get_args(hints[name])
        if marks and marks[0] is RunConfig:
            of_run = typing.get_type_hints(RunConfig)
            found |= {one.name: of_run[one.name] is bool for one in fields(RunConfig) if one.name not in SOURCES}
        elif not _is_positional(hint):
            found[name] = hint is bool
    return found


def _is_positional(hint: Any) -> bool:
    return set(getattr(hint, "__metadata__", ())) >= set(getattr(Positional[str], "__metadata__", (None,)))


def _of_file(path: Path, commands: Commands) -> list[Setting]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes; expected a short file of settings")
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None
    found = []
    for name, table in tables.items():
        if name not in commands or not isinstance(table, dict):
            raise ConfigError(
                f"{path}: {name!r} is no command{_near(name, list(commands))}; expected tables such as [run]"
            )
        options = options_of(commands[name])
        for key, value in table.items():
            option = key.replace("-", "_")
            if option not in options:
                raise ConfigError(f"{path}: [{name}] has no option {key!r}{_near(option, list(options))}")
            if options[option] is not isinstance(value, bool) or not isinstance(value, (str, int, float)):
                expected = "true or false" if options[option] else "a text or a number"
                raise ConfigError(f"{path}: {key} in [{name}] is {value!r}; expected {expected}")
            found.append(Setting(name, option, value if isinstance(value, bool) else str(value), str(path)))
    return found


def _of_variables(commands: Commands, environment: Mapping[str, str]) -> list[Setting]:
    found = []
    for variable, value in sorted(environment.items()):
        for name, command in commands.items():
            prefix = f"SPARK3R_{name.replace('-', '_').upper()}_"
            if not variable.startswith(prefix):
                continue
            option, options = variable.removeprefix(prefix).lower(), options_of(command)
            if option not in options:
                raise ConfigError(f"${variable}: {name} has no option {option!r}{_near(option, list(options))}")
            if options[option] and value.lower() not in (*_TRUE, *_FALSE):
                raise ConfigError(f"${variable} is {value!r}; expected 1 or 0")
            found.append(
                Setting(name, option, value.lower() in _TRUE if options[option] else value or None, f"${variable}")
            )
    return found


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def config_command(commands: Commands, as_json: bool) -> int:
    """Print the file's place and what is set."""
    path, settings = config_file(os.environ), read_settings(commands, os.environ)
    if as_json:
        plain = {"file": None if path is None else str(path), "settings": [vars(one) for one in settings]}
        print(json.dumps(plain))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    where = "no home folder is known" if path is None else f"{cleaned(path)}{'' if path.is_file() else ' (not there)'}"
    console.print(f"file: {where}", markup=False)
    if not settings:
        console.print("nothing is set; a file with", markup=False)
        console.print('  [run]\n  device = "cpu"', markup=False)
        console.print("or SPARK3R_RUN_DEVICE=cpu sets --device of spark3r run", markup=False)
        return 0
    table = Table("command", "option", "value", "from", box=None, pad_edge=False)
    for one in settings:
        shown = (
            "(default)" if one.value is None else str(one.value).lower() if isinstance(one.value, bool) else one.value
        )
        table.add_row(one.command, option_name(one.option), cleaned(shown), cleaned(one.origin))
    console.print(table)
    return 0
