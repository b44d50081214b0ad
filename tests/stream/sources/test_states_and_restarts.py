"""Which state of a source may follow which, and how often a camera is opened again."""

from __future__ import annotations

import pytest

from spark3r_stream.sources import ReconnectOptions, SourceState
from spark3r_stream.sources.base import LEGAL_TRANSITIONS, SourceStateBox
from spark3r_stream.sources.restart import RestartBudget


def test_every_transition_is_legal_or_refused():
    paths = {SourceState.OPENING: []}
    while len(paths) < len(SourceState):
        for state, path in list(paths.items()):
            for following in LEGAL_TRANSITIONS[state]:
                paths.setdefault(following, [*path, following])
    for state, path in paths.items():
        for target in SourceState:
            box = SourceStateBox()
            for step in path:
                box.to(step)
            if target is state or target in LEGAL_TRANSITIONS[state]:
                box.to(target)
                assert box.state is target
            else:
                with pytest.raises(RuntimeError, match=f"from {state.value} to {target.value}"):
                    box.to(target)


def test_finishing_happens_once():
    box = SourceStateBox()
    box.to(SourceState.STREAMING)
    box.finish(SourceState.FAILED)
    box.finish(SourceState.ENDED)
    assert box.state is SourceState.FAILED


def test_restarts_back_off_and_run_out():
    budget = RestartBudget(ReconnectOptions(0.5, 3.0, max_restarts=5, window_s=100.0))
    assert [budget.next_delay_s(0) for _ in range(6)] == [0.5, 1.0, 2.0, 3.0, 3.0, None]
    after_window_ns = round(101e9)
    budget.succeeded()
    assert budget.next_delay_s(after_window_ns) == 0.5


def test_success_resets_the_delay_but_not_the_count():
    budget = RestartBudget(ReconnectOptions(0.5, 3.0, max_restarts=3, window_s=100.0))
    delays = []
    for second in range(4):
        delays.append(budget.next_delay_s(second * 10**9))
        budget.succeeded()
    assert delays == [0.5, 0.5, 0.5, None]
