"""`spark3r`: one function per command. Heavy imports happen inside commands, so that help is instant."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import signal
import sys
from typing import NoReturn

import tyro
from tyro.extras import SubcommandApp

import spark3r_stream
from spark3r_core.errors import Spark3rError
from spark3r_stream.cli import commands
from spark3r_stream.cli.config import Setting, with_settings
from spark3r_stream.cli.said import show_messages
from spark3r_stream.extras import advice
from spark3r_stream.plain_text import cleaned

DESCRIPTION = """Streaming 3D reconstruction: live video in, camera poses and geometry out.

With every command: -q says only what is wrong, -v says more; --version alone says which version this is."""
VERBOSITY = {
    "-q": logging.WARNING,
    "--quiet": logging.WARNING,
    "-v": logging.DEBUG,
    "--verbose": logging.DEBUG,
}
EXIT_ERROR = 1
EXIT_USAGE = 2  # tyro's, too
EXIT_INTERRUPTED = 128 + signal.SIGINT

app = SubcommandApp()
for name, command in commands.COMMANDS.items():
    app.command(name=name)(command)


def main() -> None:
    """Run a command; a known error is one line on stderr and exit code 1, anything else a traceback.

    Known are our own errors, what the system refuses (files, folders, addresses), and libraries of an extra that is not
    installed.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # a console that has no bullets shows question marks
    sys.argv[1:], level = split_verbosity(sys.argv[1:])
    if sys.argv[1:] == ["--version"]:
        print(f"spark3r {spark3r_stream.__version__}")
        sys.exit(0)
    if complaint := unknown_command(sys.argv[1:]):
        print(f"spark3r: error: {complaint}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    show_messages(level)
    settings: list[Setting] = []
    try:
        sys.argv[1:], settings = with_settings(sys.argv[1:], commands.COMMANDS)
        code = app.cli(prog="spark3r", description=DESCRIPTION, config=(tyro.conf.FlagCreatePairsOff,))
    except Spark3rError as error:
        _fail(cleaned(error, 4000))
    except SystemExit as end:
        if end.code == EXIT_USAGE and settings:
            origins = ", ".join(sorted({cleaned(one.origin) for one in settings}))
            print(f"spark3r: note: options were also set by {origins}; spark3r config shows them", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `spark3r echo | head`: the reader has gone, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(_refusal(error))
    except ModuleNotFoundError as error:
        line = advice(error.name)
        if line is None:  # no library of an extra: this package itself is broken
            raise
        _fail(line)
    sys.exit(code if isinstance(code, int) else 0)


def program() -> NoReturn:
    """`main` as all that a process does: when it is done, everything is closed, and the process ends at once.

    Taking the interpreter apart costs a second of computing with torch in it; on a busy machine that is several, for
    which a run that was told to end would not have ended.
    """
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        code = 0
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _fail(line: str) -> NoReturn:
    print(f"spark3r: error: {line}", file=sys.stderr)
    sys.exit(EXIT_ERROR)


def _refusal(error: OSError) -> str:
    """What the system refuses, with the names of the files it is about."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return ": ".join([*names, error.strerror or str(error)])


def split_verbosity(arguments: list[str]) -> tuple[list[str], int]:
    """Arguments without -q and -v, which every command takes anywhere, and the least level of `logging` to show."""
    shown = [VERBOSITY[argument] for argument in arguments if argument in VERBOSITY]
    return [argument for argument in arguments if argument not in VERBOSITY], shown[-1] if shown else logging.INFO


def unknown_command(arguments: list[str]) -> str | None:
    """What is wrong with the first argument if it is no command: tyro would take `nonsense --help` for `--help`."""
    first = arguments[0] if arguments else "--help"
    if first in (*commands.COMMANDS, "-h", "--help") or first.startswith("--tyro-"):
        return None
    near = difflib.get_close_matches(first, commands.COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{first!r} is no command; {hint}expected one of {' '.join(commands.COMMANDS)} (spark3r --help)"


if __name__ == "__main__":
    program()
