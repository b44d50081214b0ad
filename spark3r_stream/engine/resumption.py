"""Where a camera's run broke off, as its subscribers know it: a run that goes on says none of it anew, or otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Resumption:
    """Of one camera's messages in a session.

    next_frame_id, next_epoch: from which on frames are to be numbered. sequences: number of the next message by topic.
    submaps: numbers of the camera's submaps, counted by itself, by the keyframe's frame id. revisions: of where a
    submap lies, by its number.
    """

    next_frame_id: int = 0
    next_epoch: int = 0
    sequences: Mapping[str, int] = field(default_factory=dict)
    submaps: Mapping[int, int] = field(default_factory=dict)
    revisions: Mapping[int, int] = field(default_factory=dict)

    @property
    def next_submap(self) -> int:
        return max((*self.submaps.values(), *self.revisions), default=-1) + 1
