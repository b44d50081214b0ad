"""The lists of guards that `make test-all` removes in turn: each is still where its entry says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.guards.guard import Guard
from tools.mutate_guards import GUARDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: f"{Path(guard.file).name}: {guard.old[:30]}")
def test_an_entry_applies_and_its_tests_are_there(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text(encoding="utf-8").count(guard.old) == 1
    assert guard.new != guard.old
    file, *option = guard.tests.split()
    assert (ROOT / file).is_file()
    assert option[:1] in ([], ["-k"], ["-m"])
