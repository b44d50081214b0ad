"""What an actor logs waits for the fleet, and not for ever."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from spark3r_stream.fleet.log_lines import MOST_LINES, PACKAGES, LogLine, LogLines


@pytest.fixture
def lines() -> Iterator[LogLines]:
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(one.level, one.handlers, one.propagate) for one in loggers]
    yield LogLines(logging.INFO, "gate")
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers, logger.propagate = handlers, propagate


def test_so_many_lines_wait_and_older_ones_are_counted(lines: LogLines) -> None:
    log = logging.getLogger("spark3r_stream.some.part")
    for number in range(MOST_LINES + 50):
        log.warning("line %d", number)
    first, *rest = lines.take()
    assert first == LogLine(logging.WARNING, "", "50 earlier lines were left out")
    assert [one.text for one in rest] == [f"line {number}" for number in range(50, MOST_LINES + 50)]
    assert {one.camera for one in rest} == {"gate"}
    assert lines.take() == []
