"""What joins what: disjoint sets of frame ids (union-find, Galler and Fischer 1964)."""

from __future__ import annotations

from collections.abc import Iterable


class Parts:
    """At first every id is a part of its own."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._above = {one: one for one in ids}

    def __contains__(self, one: int) -> bool:
        return one in self._above

    def of(self, one: int) -> int:
        """The part of an id, by one of its ids."""
        while self._above[one] != one:
            self._above[one] = one = self._above[self._above[one]]
        return one

    def join(self, first: int, second: int) -> bool:
        """Make the parts of two ids one; whether they were two."""
        first, second = self.of(first), self.of(second)
        self._above[second] = first
        return first != second
