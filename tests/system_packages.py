"""What tests need of the system beyond Python packages, and of packages that not everybody has (Ray, 80 MB). Each is
tried, as a file may be there and of no use.

A test with a marker of GROUPS is skipped where the probe of that name fails (tests/conftest.py). Each probe runs once,
when the first test that needs it does.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.helpers_browser import CHROMIUM
from tests.helpers_rtsp import CHECK, SYSTEM_PYTHON

LIST = Path(__file__).parents[1] / "tools" / "system_packages.txt"
TIMEOUT_S = 90.0
LINK = """
#include <google/protobuf/stubs/common.h>
#include <zmq.hpp>
int main() { zmq::context_t context; google::protobuf::ShutdownProtobufLibrary(); }
"""
WEBGL = "!!document.createElement('canvas').getContext('webgl2')"
PAGE = f"data:text/html,<script>document.write('draws: ' + {WEBGL})</script>"
PROBES: dict[str, list[tuple[list[str], str, str]]] = {  # commands, each with what it reads and what it must say
    "rtsp": [([SYSTEM_PYTHON, "-c", CHECK], "", "")],
    "mesh": [([sys.executable, "-c", "import open3d"], "", "")],
    "browser": [([*CHROMIUM, "--dump-dom", PAGE], "", "draws: true")],
    "compiler": [
        (["cmake", "--version"], "", ""),
        (["protoc", "--version"], "", ""),
        (["c++", "-std=c++17", "-x", "c++", "-", "-o", os.devnull, "-lzmq", "-lprotobuf"], LINK, ""),
    ],
    "namespaces": [(["ip", "-Version"], "", "")],
    "ray": [([sys.executable, "-c", "import ray"], "", "")],
}
EXTRAS = {"ray": "fleet"}  # of this package, where it is no package of the system
GROUPS = tuple(PROBES)


def packages(group: str) -> str:
    """Debian's names, separated by spaces; or the extra."""
    if group in EXTRAS:
        return f"spark3r-stream[{EXTRAS[group]}]"
    lines = (line.partition(":") for line in LIST.read_text().splitlines() if not line.startswith("#"))
    return {name: " ".join(names.split()) for name, _, names in lines}[group]


@functools.cache
def why_unusable(group: str) -> str | None:
    """None when it works here, else what the probe said."""
    for command, text, must_say in PROBES[group]:
        try:
            done = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
            )
        except FileNotFoundError:
            return f"there is no {command[0]}"
        except subprocess.TimeoutExpired:
            return f"{command[0]} did not end within {TIMEOUT_S:.0f} s"
        if done.returncode != 0:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            return said[-1][:200] if said else f"{command[0]} ended with exit code {done.returncode}"
        if must_say not in done.stdout:
            return f"{command[0]} does not say {must_say!r}"
    return None


def why_skipped(group: str) -> str | None:
    """None when it works here, else the reason and what to install."""
    said = why_unusable(group)
    how = "pip install" if group in EXTRAS else "Debian: apt-get install"
    return said and f"{group} is not usable here ({said}); {how} {packages(group)}"


def closing_line(skipped: Counter[str]) -> str:
    """How many tests were skipped for lack of what; skipped: tests by group."""
    parts = [f"{packages(group)} ({group}, {count})" for group, count in sorted(skipped.items())]
    tests = "1 test" if skipped.total() == 1 else f"{skipped.total()} tests"
    targets = ["`make setup`"] * any(group in EXTRAS for group in skipped)
    targets += ["`make system-packages`"] * any(group not in EXTRAS for group in skipped)
    how = " and ".join(targets)
    return f"skipped for lack of system packages: {tests}: {', '.join(parts)}; install them with {how}"
