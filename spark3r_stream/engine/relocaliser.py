"""When a lost camera is looked for in its map, and when the map is given up. Pure: the same history, the same answer.

The search is a request to the mapper like any other; this counts what came of it. A covered lens is no reason to give
up: only pictures in which a place could have been recognised count.
"""

from __future__ import annotations

from dataclasses import dataclass

ASK_FROM = 3  # frames in a row that were not aligned: shorter gaps the tracker bridges itself
MOST_TRIES = 6  # pictures that could have been recognised and were not, after which another map begins
TRIES_AT_FIRST = 30  # the same, where a run begins in a saved map


@dataclass
class Relocaliser:
    """Call `missed` or `tracked` per frame, `answered` per answer of the mapper. most_tries: None: never give up."""

    most_tries: int | None = MOST_TRIES
    _missed: int = 0
    _tries: int = 0

    def tracked(self) -> None:
        """A frame was aligned: nothing is lost."""
        self._missed = self._tries = 0

    def missed(self) -> None:
        self._missed += 1

    def answered(self, recognisable: bool) -> None:
        """The mapper did not recognise a lost frame. recognisable: whether its picture had enough to see."""
        self._tries += recognisable

    @property
    def should_ask(self) -> bool:
        return self._missed >= ASK_FROM

    @property
    def gives_up(self) -> bool:
        return self.most_tries is not None and self._tries >= self.most_tries
