"""Does a test notice when a guard is gone? Removes each in turn in a copy of the tree and runs the tests that should.

    python tools/mutate_guards.py             # a table; exit code 1 if a mutation survives
    python tools/mutate_guards.py MAXMSGSIZE  # only those whose text has it

A guard is a check that only hostile or damaged input ever meets, so nothing but such a test shows that it is there.
To add one: a line in a list in tools/guards with the file, a text that occurs once in it, what to put there, and the
tests to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.guards import files, messages, sensors_and_fleet
from tools.guards.guard import Guard

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("spark3r_core", "spark3r_stream", "tests", "tools", "pyproject.toml")
TIMEOUT_S = 300.0
GUARDS: list[Guard] = [*messages.GUARDS, *sensors_and_fleet.GUARDS, *files.GUARDS]


def main() -> None:
    chosen = [guard for guard in GUARDS if all(word in " ".join(guard) for word in sys.argv[1:])]
    if not chosen:
        sys.exit("no entry has that in its text")
    with tempfile.TemporaryDirectory(prefix="spark3r-mutate-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tree / name)
        unharmed = {tests: run(tree, tests) for tests in sorted({guard.tests for guard in chosen})}
        survived = 0
        for guard in chosen:
            verdict = "TESTS FAIL" if unharmed[guard.tests] else mutate(tree, guard)
            survived += verdict != "noticed"
            print(f"{verdict:<12} {guard.file}: {guard.old[:70]}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutations were noticed")
    sys.exit(1 if survived else 0)


def mutate(tree: Path, guard: Guard) -> str:
    """Run the tests without the guard: "noticed" if one fails."""
    file = tree / guard.file
    text = file.read_text(encoding="utf-8")
    if text.count(guard.old) != 1:
        return f"found {text.count(guard.old)} times, expected once"
    file.write_text(text.replace(guard.old, guard.new), encoding="utf-8")
    try:
        return "noticed" if run(tree, guard.tests) else "SURVIVED"
    finally:
        file.write_text(text, encoding="utf-8")


def run(tree: Path, tests: str) -> int:
    """pytest's exit code; 1 if it takes too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, timeout=TIMEOUT_S, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return 1
    if done.returncode not in (0, 1):  # no tests, or none that could be collected: that proves nothing
        sys.exit(f"pytest {tests} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode


if __name__ == "__main__":
    main()
