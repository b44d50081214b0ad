"""Evenly spread samples of streams of unknown length, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Thinned(Generic[Item]):
    """Keeps every k-th item, where k doubles whenever `max_items` would be exceeded.

    After n items between max_items / 2 and max_items of them are held (all of them while n <= max_items), at positions
    0, k, 2k, ... The newest item is available besides as `last`.
    """

    def __init__(self, max_items: int) -> None:
        if max_items < 2:
            raise ValueError(f"max_items is {max_items}; expected at least 2")
        self.max_items = max_items
        self.stride = 1
        self.count = 0
        self.last: Item | None = None
        self._kept: list[Item] = []

    def wants_next(self) -> bool:
        """Whether the next item would be kept: lets a caller skip the work of making it."""
        return self.count % self.stride == 0

    def add(self, item: Item) -> None:
        if self.wants_next():
            self._kept.append(item)
            if len(self._kept) > self.max_items:
                del self._kept[1::2]
                self.stride *= 2
        self.last = item
        self.count += 1

    def replace(self, is_older: Callable[[Item], bool], item: Item) -> None:
        """Put a newer version in the place of a kept item; nothing happens where it was thinned away."""
        self._kept = [item if is_older(held) else held for held in self._kept]

    def change(self, change: Callable[[Item], Item]) -> None:
        """Put what `change` makes of it in the place of each kept item."""
        last_is_kept = bool(self._kept) and self._kept[-1] is self.last
        self._kept = [change(held) for held in self._kept]
        if last_is_kept:
            self.last = self._kept[-1]
        elif self.last is not None:
            self.last = change(self.last)

    def items(self) -> list[Item]:
        """The kept items in order, oldest first."""
        return list(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def most_crowded(submaps: list[int]) -> int:
    """Of at least three numbers in order the one whose neighbours are closest to each other: what is left is spread
    evenly over the whole run, and has the first and the newest."""
    return submaps[min(range(1, len(submaps) - 1), key=lambda i: submaps[i + 1] - submaps[i - 1])]
