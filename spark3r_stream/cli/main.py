"""`spark3r`: one function per command. Heavy imports happen inside commands, so that help is instant."""

from __future__ import annotations

import os
import signal
import sys

import tyro
from tyro.extras import SubcommandApp

from spark3r_core.errors import Spark3rError
from spark3r_stream.cli import commands
from spark3r_stream.plain_text import cleaned

DESCRIPTION = "Streaming 3D reconstruction: live video in, camera poses and geometry out."
EXIT_ERROR = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT

app = SubcommandApp()
for name, command in commands.COMMANDS.items():
    app.command(name=name)(command)


def main() -> None:
    """Run a command; a known error is one line on stderr and exit code 1, anything else a traceback."""
    try:
        code = app.cli(prog="spark3r", description=DESCRIPTION, config=(tyro.conf.FlagCreatePairsOff,))
    except Spark3rError as error:
        print(f"spark3r: error: {cleaned(error, 4000)}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `spark3r echo | head`: the reader has gone, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
