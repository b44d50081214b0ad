from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import VersionMismatch, WireError
from spark3r_stream.stats import DropCause, DropCounter, LatencyHistogram
from tests.helpers import FakeClock


def test_each_drop_is_taken_once_and_stays_in_the_total():
    counter = DropCounter()
    counter.add(DropCause.SUPERSEDED, 2)
    counter.add(DropCause.DECODE_ERROR)
    counter.add(DropCause.QUEUE_FULL, 0)
    assert counter.take() == {DropCause.SUPERSEDED: 2, DropCause.DECODE_ERROR: 1}
    assert counter.take() == {}
    counter.add_all({DropCause.SUPERSEDED: 3})
    assert counter.take() == {DropCause.SUPERSEDED: 3}
    assert counter.total() == {DropCause.SUPERSEDED: 5, DropCause.DECODE_ERROR: 1}


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="negative"):
        DropCounter().add(DropCause.SUPERSEDED, -1)


def test_counting_from_many_threads_loses_nothing():
    counter, taken = DropCounter(), []

    def count() -> None:
        for _ in range(2000):
            counter.add(DropCause.SUPERSEDED)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.append(counter.take().get(DropCause.SUPERSEDED, 0))
    taken.append(counter.take().get(DropCause.SUPERSEDED, 0))
    assert sum(taken) == counter.total()[DropCause.SUPERSEDED] == 8000


@given(st.lists(st.integers(2_000, 5_000_000_000), min_size=1, max_size=300))
def test_quantiles_are_within_one_percent(durations_ns):
    histogram = LatencyHistogram()
    for duration in durations_ns:
        histogram.add_ns(duration)
    summary = histogram.summary()
    ordered = np.sort(durations_ns) / 1e6
    assert summary.count == len(durations_ns)
    assert summary.max_ms == ordered[-1]
    assert summary.mean_ms == pytest.approx(ordered.mean())
    for quantile, found in ((0.5, summary.p50_ms), (0.95, summary.p95_ms)):
        exact = ordered[int(np.ceil(quantile * len(ordered))) - 1]
        assert found == pytest.approx(exact, rel=0.0101)


def test_histogram_of_nothing_and_of_nonsense():
    histogram = LatencyHistogram()
    assert histogram.summary().count == 0
    histogram.add_ns(-5)
    histogram.add_ns(10**18)
    summary = histogram.summary()
    assert summary.count == 2
    assert summary.max_ms == 10**12


def test_system_clock_is_unix_time_that_moves_with_the_monotonic_clock():
    clock = SystemClock()
    before = clock.monotonic_ns()
    now = clock.unix_ns()
    after = clock.monotonic_ns()
    assert clock.unix_at(before) <= now <= clock.unix_at(after)
    assert now > 1_700_000_000_000_000_000
    event = threading.Event()
    assert not clock.wait(event, -1.0)
    event.set()
    assert clock.wait(event, 60.0)


def test_fake_clock_moves_by_waiting():
    clock = FakeClock()
    start = clock.unix_ns()
    assert not clock.wait(threading.Event(), 2.5)
    assert clock.unix_ns() - start == 2_500_000_000


def test_version_mismatch_names_both():
    error = VersionMismatch("the publisher", found="2.1", supported="1.0 to 1.x")
    assert isinstance(error, WireError)
    assert "2.1" in str(error)
    assert "1.0 to 1.x" in str(error)
