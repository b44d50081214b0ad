"""Which frames make up the next window of a stream, by their ids: bookkeeping without a tensor.

A map is a chain of links. A link is a stretch of frames in the gauge of one anchor: the first frame of the map or, when
a link is over, the newest kept frame, with which an empty memory begins (docs/streaming.md, chained gauges). Most
models have one link for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from spark3r_core.errors import ImageError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.facts import Capabilities


@dataclass(frozen=True)
class Window:
    """Frames that go through the network together.

    support: kept frames that are run again. new: the others, ascending.
    anchors: frames that stay for ever in the memory that this window is put in.
    begins_map: nothing is remembered. begins_link: the window begins an empty memory with its one support frame.
    """

    support: tuple[int, ...]
    new: tuple[int, ...]
    anchors: frozenset[int]
    begins_map: bool = False
    begins_link: bool = False

    @property
    def frames(self) -> tuple[int, ...]:
        """All of them, in the order in which the network sees them."""
        return (*self.support, *self.new)

    @property
    def reference(self) -> int | None:
        """Place in `frames` of the one that carries the reference tokens, the first anchor; None: it is not there."""
        first = min(self.anchors)
        return self.frames.index(first) if first in self.frames else None

    def admitting(self, valid: Sequence[int], most_anchors: int) -> tuple[Window, tuple[int, ...]]:
        """The window once it is known which of its new frames have valid estimates, and those of them to be kept."""
        if self.begins_link and len(valid) < len(self.new):
            return self, ()  # an anchor is followed by whole windows only; the next one tries again
        if self.begins_map and valid:  # without a reference frame the first may fail, and is no anchor then
            return replace(self, anchors=_first(valid, most_anchors)), tuple(valid)
        return self, tuple(valid)


@dataclass(frozen=True)
class Chain:
    """How far a stream has come.

    newest: the frame that was given last. anchors: of the current link. link_frames: new frames since it began.
    """

    newest: int | None = None
    anchors: frozenset[int] = frozenset()
    link_frames: int = 0

    def numbered(self, count: int, ids: Sequence[int] | None = None) -> tuple[int, ...]:
        """Ids of the next frames: the caller's, or counted on. Raises ImageError where they do not ascend."""
        first = 0 if self.newest is None else self.newest + 1
        new = tuple(range(first, first + count)) if ids is None else tuple(int(one) for one in ids)
        if len(new) != count or any(b <= a for a, b in zip((first - 1, *new), new, strict=False)):
            raise ImageError(f"ids {list(new)} for {count} frames; expected {count} ascending ids from {first} on")
        return new

    def next_window(
        self,
        new: tuple[int, ...],
        kept: Collection[int],
        remembered: Collection[int],
        config: MemoryConfig,
        capabilities: Capabilities,
        support: Sequence[int] | None = None,
    ) -> Window:
        """The window of these new frames.

        Args:
            kept: frames that may be run again. remembered: these, and all that have a page.
            support: which kept frames are run again; None: anchors and newest.
        """
        if not remembered:
            return Window((), new, _first(new, config.anchors), begins_map=True)
        if self._link_is_over(kept, config, capabilities):
            anchor = max(kept)
            return Window((anchor,), new, frozenset({anchor}), begins_link=True)
        anchors = self.anchors
        room = config.anchors - len(anchors)
        if room > 0 and len(remembered) == len(anchors):
            anchors = frozenset({*anchors, *new[:room]})
        if support is not None:
            chosen = [frame for frame in support if frame in kept]
        elif runs_support(config, capabilities):
            chosen = anchors_and_newest(kept, anchors, config.recent_support)
        else:
            chosen = []
        return Window(tuple(chosen), new, anchors)

    def after(self, window: Window, admitted: Collection[int]) -> Chain:
        """Where the stream is once the window is done; a window of which nothing was kept belongs to no link."""
        if not admitted:
            return Chain(window.new[-1]) if window.begins_map else replace(self, newest=window.new[-1])
        before = 0 if window.begins_map or window.begins_link else self.link_frames
        return Chain(window.new[-1], window.anchors, before + len(window.new))

    def _link_is_over(self, kept: Iterable[int], config: MemoryConfig, capabilities: Capabilities) -> bool:
        """Whether the newest kept frame is to become the anchor of an empty memory."""
        longest = capabilities.reanchor_every if config.reanchor_every is None else config.reanchor_every
        able = config.fill == "support" and capabilities.has_gauge
        return able and 0 < longest < self.link_frames and any(frame not in self.anchors for frame in kept)


def runs_support(config: MemoryConfig, capabilities: Capabilities) -> bool:
    """Whether windows run frames again: to refresh their pages, or to be aligned to the map by them."""
    return config.fill == "support" or not capabilities.has_gauge


def anchors_and_newest(kept: Iterable[int], anchors: Collection[int], newest: int) -> list[int]:
    """Kept anchors first (the first of them carries the reference tokens), then the `newest` last others."""
    frames = sorted(kept)
    others = [frame for frame in frames if frame not in anchors]
    return [frame for frame in frames if frame in anchors] + others[max(0, len(others) - newest) :]


def _first(frames: Sequence[int], most_anchors: int) -> frozenset[int]:
    """The anchors of a map that begins with these frames; one carries the gauge even where none is to stay."""
    return frozenset(frames[: max(1, most_anchors)])
