"""A source whose frames are counted on from an earlier run: in a map that both go into, an id means one frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spark3r_stream.frame import Frame
from spark3r_stream.sources.base import Source, SourceInfo, SourceState


class CountedOn:
    """Hands out each frame of `inner` with an id that is `first_id` larger, and an epoch that is `first_epoch` larger;
    everything else stays."""

    def __init__(self, inner: Source, first_id: int, first_epoch: int = 0) -> None:
        self._inner, self._first_id, self._first_epoch = inner, first_id, first_epoch
        self.drops = inner.drops

    @property
    def ground_truth(self) -> Any:
        """That of a synthetic source; None for everything filmed."""
        return getattr(self._inner, "ground_truth", None)

    @property
    def info(self) -> SourceInfo:
        return self._inner.info

    @property
    def state(self) -> SourceState:
        return self._inner.state

    def read(self) -> Frame:
        frame = self._inner.read()
        picture = frame.frame_id if frame.picture is None else frame.picture  # what finds it in a recording
        frame_id, epoch = frame.frame_id + self._first_id, frame.epoch + self._first_epoch
        return replace(frame, frame_id=frame_id, epoch=epoch, picture=picture)

    def close(self) -> None:
        self._inner.close()
