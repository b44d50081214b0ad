"""Tests whose system packages are missing are skipped, and one line at the end says which packages those are.

SPARK3R_NO_SKIPS=1 (.ci/run) makes them fail instead.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests import helpers
from tests.system_packages import GROUPS, closing_line, why_skipped

LACKING = "lacks system packages"


@pytest.fixture
def spark3r(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command line in this process; its exit code."""
    return partial(helpers.spark3r, monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_running() -> Iterator[None]:
    """A file of tests leaves no process and no thread of ours behind, for the files after it to trip over."""
    before = helpers.running()
    yield
    deadline = time.monotonic() + 10
    while (left := helpers.running() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"still running after the tests of this file: {', '.join(sorted(map(str, left)))}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for group in GROUPS:
        if item.get_closest_marker(group) is None or (reason := why_skipped(group)) is None:
            continue
        if os.environ.get("SPARK3R_NO_SKIPS", "") not in ("", "0"):
            pytest.fail(f"{reason}. Nothing may be skipped: SPARK3R_NO_SKIPS is set", pytrace=False)
        item.user_properties.append((LACKING, group))  # comes with the report, also from another process
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("skipped", [])
    skipped = Counter(str(value) for report in reports for name, value in report.user_properties if name == LACKING)
    if skipped:
        terminalreporter.write_line(closing_line(skipped), yellow=True)
