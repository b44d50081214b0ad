"""What a stream keeps, how its memory is filled, and what goes when it is full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from spark3r_core.errors import SettingsError

Fill = Literal["support", "causal", "consolidate"]
Eviction = Literal["time", "views"]

SUPPORT_RECENT = 1
CONSOLIDATE_EVERY = 8


@dataclass(frozen=True)
class MemoryConfig:
    """What a stream keeps.

    fill: how keys and values of past frames come about (docs/streaming.md).
        "support": the anchor (frame 0) and the newest frames are run again with each window, and the pages of all of
        them, computed jointly, are committed.
        "causal": pages are committed as computed, nothing is run again. The cheapest and, without tuning, the worst.
        "consolidate": windows read the memory and write nothing; every `consolidate_every` frames all kept frames are
        computed jointly and their pages replace the old ones (`spark3r_core.stream.consolidation`).
    eviction: which page goes when a layer is full. "time": pages stay spread over the history (Spark3R's stride
        online). "views": pages stay spread over what was seen; the one most like another by its mean key goes.
    max_bytes: budget for pages, window slots and tokens of kept frames together; None: as many as max_pages asks for.
    max_pages: pages a sensitive layer holds at most, the others a third; None: the model's own number (Spark3R: 40).
        With "consolidate" also how many frames are kept.
    anchors: first frames that are pinned for ever; frame 0 carries origin and scale.
    support_recent: newest frames run again with each window, besides frame 0; None: 1. With "consolidate" only models
        without a gauge run frames again in a window, to be aligned to the map.
    max_new_frames: most new frames one window may hold; the buffers are laid out for it.
    recent: newest pages that are not evicted while they are recent; None: one window's worth, a quarter of the
        capacity at most.
    consolidate_every: new frames from one consolidation to the next; None: 8.
    reanchor_every: frames after which the newest kept frame becomes the anchor of a new, empty memory, whose gauge is
        chained to the map by that frame's pose and depth; 0: never; None: the model's own number. Only with "support"
        and models that have a gauge.

    Raises SettingsError for values that make no sense together.
    """

    max_bytes: int | None = None
    max_pages: int | None = None
    fill: Fill = "support"
    eviction: Eviction = "time"
    anchors: int = 1
    support_recent: int | None = None
    max_new_frames: int = 8
    recent: int | None = None
    consolidate_every: int | None = None
    reanchor_every: int | None = None

    def __post_init__(self) -> None:
        for name, values in (("fill", get_args(Fill)), ("eviction", get_args(Eviction))):
            if getattr(self, name) not in values:
                raise SettingsError(f"{name} is {getattr(self, name)!r}; expected {', '.join(values)}")
        least = {"max_pages": 1, "anchors": 0, "support_recent": 0, "max_new_frames": 1, "recent": 0}
        for name, lowest in {**least, "consolidate_every": 1, "reanchor_every": 0}.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise SettingsError(f"{name} is {value}; expected at least {lowest}")
        if self.fill == "causal" and self.support_recent:
            raise SettingsError(
                f'support_recent is {self.support_recent}, but a "causal" memory runs no frame again; leave it out or '
                'use fill="support"'
            )
        if self.fill != "consolidate" and self.consolidate_every is not None:
            raise SettingsError(
                f'consolidate_every is {self.consolidate_every}, but the memory is filled by "{self.fill}"; leave it '
                'out or use fill="consolidate"'
            )
        if self.fill != "support" and self.reanchor_every:
            raise SettingsError(
                f'reanchor_every is {self.reanchor_every}, but the memory is filled by "{self.fill}"; leave it out or '
                'use fill="support"'
            )
        if self.fill == "consolidate" and self.anchors == 0:
            raise SettingsError('a "consolidate" memory needs its anchor: frame 0 carries origin and scale; anchors=1')

    @staticmethod
    def causal(**settings: Any) -> MemoryConfig:
        """Commit keys and values as computed, nothing run again."""
        return MemoryConfig(fill="causal", **settings)

    @staticmethod
    def consolidate(**settings: Any) -> MemoryConfig:
        """Track read-only and recompute all kept frames jointly now and then."""
        return MemoryConfig(fill="consolidate", **settings)

    @property
    def recent_support(self) -> int:
        """Newest frames that a window runs again, besides frame 0."""
        if self.fill == "causal":
            return 0
        return SUPPORT_RECENT if self.support_recent is None else self.support_recent

    @property
    def max_support_frames(self) -> int:
        """Frames that a window runs again at most."""
        return 0 if self.fill == "causal" else 1 + self.recent_support

    @property
    def frames_per_consolidation(self) -> int:
        return self.consolidate_every or CONSOLIDATE_EVERY
