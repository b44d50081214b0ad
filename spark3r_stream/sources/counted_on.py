"""A source whose frames are counted on from an earlier run: in a map that both go into, an id means one frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spark3r_stream.frame import Frame
from spark3r_stream.sources.base import Source, SourceInfo, SourceState


class CountedOn:
    """Hands out each frame of `inner` with an id that is `first_id` larger; everything else stays."""

    def __init__(self, inner: Source, first_id: int) -> None:
        self._inner, self._first_id = inner, first_id
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
        return replace(frame, frame_id=frame.frame_id + self._first_id, picture=picture)

    def close(self) -> None:
        self._inner.close()
