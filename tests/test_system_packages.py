"""What happens on a machine without the packages of tools/system_packages.txt; that some are there is not assumed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests import system_packages
from tests.system_packages import EXTRAS, GROUPS, LIST, closing_line, packages, why_unusable

ROOT = Path(__file__).parents[1]
ONE_TEST_EACH = "import pytest\n" + "".join(
    f"@pytest.mark.{group}\ndef test_{group}(): pass\n" for group in (*GROUPS, "timeout(60)")
).replace("test_timeout(60)", "test_plain")


def pytest_without(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run of ONE_TEST_EACH where browser, elements, compiler and `ip` are not found, however much is installed."""
    (folder / "test_each.py").write_text(ONE_TEST_EACH)
    nothing = str(folder / "nothing")
    broken = folder / "broken"
    broken.mkdir()
    (broken / "open3d.py").write_text("raise OSError('libGL.so.1: cannot open shared object file')\n")
    (broken / "ray.py").write_text("raise ModuleNotFoundError('No module named ray')\n")
    gone = {
        "PATH": nothing,
        "GST_PLUGIN_SYSTEM_PATH_1_0": nothing,
        "GST_REGISTRY_1_0": str(folder / "registry"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SPARK3R_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest"]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(folder), *arguments, str(folder / "test_each.py")],
        env={**kept, **gone, "PYTHONPATH": f"{broken}:{ROOT}", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_them_tests_are_skipped_and_one_line_says_what_to_install(tmp_path: Path) -> None:
    done = pytest_without(tmp_path, "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"1 passed, {len(GROUPS)} skipped" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("skipped for lack of system packages")]
    assert lines == [closing_line(Counter(GROUPS))]
    for group in GROUPS:
        assert f"{group} is not usable here (" in done.stdout
        assert f"{packages(group)} ({group}, 1)" in lines[0]
    assert lines[0].endswith("install them with `make setup` and `make system-packages`")
    without_ray = [group for group in GROUPS if group not in EXTRAS]
    assert closing_line(Counter(without_ray)).endswith("install them with `make system-packages`")


def test_ci_fails_instead_of_skipping(tmp_path: Path) -> None:
    done = pytest_without(tmp_path, "-m", "compiler or timeout", SPARK3R_NO_SKIPS="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "compiler is not usable here (there is no cmake)" in done.stdout
    assert "SPARK3R_NO_SKIPS is set" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]
    assert "SPARK3R_NO_SKIPS=1 make test" in (ROOT / ".ci" / "run").read_text()


def test_where_nothing_is_missing_nothing_is_said(tmp_path: Path) -> None:
    done = pytest_without(tmp_path, "-m", "timeout")
    assert done.returncode == 0
    assert "system packages" not in done.stdout


def test_a_tool_that_is_there_and_does_not_work_is_not_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "raise SystemExit('cannot open shared object file')"]
    monkeypatch.setitem(system_packages.PROBES, "broken", [([sys.executable, "-c", ""], "", ""), (command, "", "")])
    assert why_unusable("broken") == "cannot open shared object file"
    silent = [([sys.executable, "-c", "print('draws: false')"], "", "draws: true")]
    monkeypatch.setitem(system_packages.PROBES, "silent", silent)
    assert "does not say 'draws: true'" in (why_unusable("silent") or "")


def test_the_list_is_the_only_one() -> None:
    text = LIST.read_text()
    assert [line.partition(":")[0] for line in text.splitlines() if not line.startswith("#")] == [
        "setup", *(group for group in GROUPS if group not in EXTRAS)
    ]  # fmt: skip
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {marker.partition(":")[0] for marker in options["markers"]} >= set(GROUPS)
    assert f"#   apt-get install {packages('compiler')}\n" in (ROOT / "examples/cpp/CMakeLists.txt").read_text()
    for file in (".ci/run", "Makefile"):
        assert "tools/install_system_packages.sh" in (ROOT / file).read_text()


def test_only_what_is_missing_is_installed(tmp_path: Path) -> None:
    """With a dpkg that knows all but two packages, and an apt-get that writes down what it was asked for."""
    asked = tmp_path / "asked"
    fakes = {
        "dpkg": 'case "$2" in g++|chromium) exit 1;; esac',
        "apt-get": f'echo "$@" >> {asked}',
        "sudo": '"$@"',
    }
    for name, text in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    script = str(ROOT / "tools" / "install_system_packages.sh")
    subprocess.run([script], env=environment, check=True, capture_output=True)
    assert asked.read_text().splitlines()[-1].endswith("--no-install-recommends chromium g++")
    asked.unlink()
    (tmp_path / "dpkg").write_text("#!/bin/sh\n")
    subprocess.run([script], env=environment, check=True, capture_output=True)
    assert not asked.exists()
