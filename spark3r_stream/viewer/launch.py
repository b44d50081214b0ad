"""`spark3r run --view`: the viewer as a second process, which can neither delay nor crash the engine."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from spark3r_stream.viewer.availability import require_installed

_UNWATCHED_S = 30.0  # time to open the page after a short run, or to reload it


@contextlib.contextmanager
def launch_viewer(endpoint: str, keys: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start `spark3r view ENDPOINT`, with the publisher's own `keys` where it has some.

    At the end of the run it stays with the finished map, until its pages are closed.

    Raises ViewerUnavailable at once where viser is missing, so that the run stops before it starts.
    """
    require_installed()
    command = [sys.executable, "-m", "spark3r_stream.cli.main", "view", endpoint]
    command += ["--until-unwatched", str(_UNWATCHED_S)]
    command += [] if keys is None else ["--keys", str(keys)]
    # Its output must not mix with the JSON lines of the run; errors still reach the terminal.
    viewer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield viewer
    except BaseException:
        viewer.terminate()  # a failed run leaves no map to look at
        viewer.wait(10)
        raise
