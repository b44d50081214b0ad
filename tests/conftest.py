"""Tests whose system packages are missing are skipped, and one line at the end says which packages those are.

SPARK3R_NO_SKIPS=1 (.ci/run) makes them fail instead.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.system_packages import GROUPS, closing_line, why_skipped

SKIPPED = pytest.StashKey[Counter[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for group in GROUPS:
        if item.get_closest_marker(group) is None or (reason := why_skipped(group)) is None:
            continue
        if os.environ.get("SPARK3R_NO_SKIPS", "") not in ("", "0"):
            pytest.fail(f"{reason}. Nothing may be skipped: SPARK3R_NO_SKIPS is set", pytrace=False)
        item.config.stash.setdefault(SKIPPED, Counter())[group] += 1
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if skipped := config.stash.get(SKIPPED, Counter()):
        terminalreporter.write_line(closing_line(skipped), yellow=True)
