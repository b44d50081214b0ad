"""What a stream remembers of past windows: pages of keys and values, and tokens of the frames that may be run again.

A window is taken in by one of the ways of `MemoryConfig.fill`, and as a whole: pages, kept frames and counters change
together, after everything that can fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.eviction import Evictor
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.memory.policy import thinned
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.stream.consolidation import Consolidated, consolidate
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.kept_frames import KeptFrames
from spark3r_core.stream.memory_layout import frame_bytes, fullest_layer, most_kept_frames
from spark3r_core.stream.window import Window, runs_support


@dataclass(frozen=True)
class Taken:
    """What became of one window.

    estimates: of its new frames; all have failed where the joint pass that begins the map did.
    admitted: new frames that are remembered. used_bytes: at the fullest moment.
    together: the joint pass that followed; None: there was none, or it failed.
    """

    estimates: list[FrameEstimate]
    admitted: tuple[int, ...]
    used_bytes: int
    together: Consolidated | None = None


class Remembered:
    """Memory and kept frames of one stream.

    Args:
        model: which a consolidation runs.
        config: how the memory is filled, and what goes when it is full.
        memory: empty, laid out for the stream's pictures (`lay_out`).
    """

    def __init__(self, model: Backbone, config: MemoryConfig, memory: KVMemory) -> None:
        self.memory = memory
        self.kept = KeptFrames()
        self._model = model
        self._config = config
        self._evictor = Evictor(config, memory)
        self._since_consolidation = 0  # admitted frames

    @property
    def frames(self) -> set[int]:
        """Frames that later windows may read or run again."""
        return {*self.kept, *self.memory.all_frames()}

    def limit_bytes(self, encoded: Encoded) -> int:
        """Bytes that are never exceeded, with tokens as large as these."""
        return self.memory.limit_bytes + most_kept_frames(self.memory, self._config) * frame_bytes(encoded)

    @contextmanager
    def opened(self, window: Window) -> Iterator[None]:
        """Open a window in the memory, for `take` to close. Whatever is raised before it is closed, it is forgotten."""
        evictor = self._evictor.copy()
        try:
            if window.begins_link:  # a layer that cannot hold all of it goes without the newest
                self.memory.begin_swap(window.frames, lambda _layer, frames: frames[-1])
            else:
                self.memory.begin(window.frames)
            yield
        except BaseException:
            self.memory.rollback()
            self._evictor = evictor
            raise

    def take(
        self, window: Window, admitted: tuple[int, ...], estimates: Sequence[FrameEstimate], encoded: Encoded
    ) -> Taken:
        """Close the open window and remember it.

        Args:
            admitted: new frames to be remembered; none: all stays as it was.
            estimates, encoded: of the new frames, in order; poses and depths as they are published.
        """
        taken = Taken(list(estimates), admitted, self.memory.used_bytes + self.kept.nbytes)
        if not admitted:  # nothing worth keeping, and refreshed support pages may be as broken as the rest
            self.memory.rollback()
        else:
            self._evictor.observe({*window.support, *admitted})
            if self._config.fill == "consolidate":
                taken = self._take_and_consolidate(taken, window, encoded)
            else:
                self._commit(taken, window, encoded)
        self._evictor.forget_all_but(self.frames)
        return taken

    def _commit(self, taken: Taken, window: Window, encoded: Encoded) -> None:
        kept = self.kept.copy()
        # it copies tokens, which may find no room: before the memory is changed
        kept.update(self._support_to_come(taken, window), taken.estimates, encoded)
        if window.begins_link:
            self.memory.swap()
        else:
            keep = {*window.support, *taken.admitted}
            self.memory.commit(keep, self._evictor.choose_around(window.anchors))
        self.kept = kept

    def _support_to_come(self, taken: Taken, window: Window) -> set[int]:
        """Frames to keep for windows to come: the first anchor for ever, the newest until newer ones come."""
        if not runs_support(self._config, self._model.capabilities):
            return set()
        first = min(window.anchors)
        others = sorted({*self.kept, *taken.admitted} - {first})
        return {first, *others[max(0, len(others) - self._config.recent_support) :]}

    def _take_and_consolidate(self, taken: Taken, window: Window, encoded: Encoded) -> Taken:
        """Keep frames, not pages. When it is time, or none has pages, a joint pass gives all of them pages."""
        self.memory.rollback()
        is_first = not self.memory.all_frames()
        kept = self._candidates(taken, window, encoded)
        since = self._since_consolidation + len(taken.admitted)
        if is_first or since >= self._config.frames_per_consolidation:
            most, anchor = self._config.max_new_frames, min(window.anchors)
            together = consolidate(self._model, self.memory, kept, self._evictor, most, anchor)
            since = 0
            if together is not None:
                used_bytes = max(taken.used_bytes, together.used_bytes + kept.nbytes)
                taken = replace(taken, together=together, used_bytes=used_bytes)
            elif is_first:
                reason = "the joint pass that begins the map is not finite"
                failed = [replace(estimate, failure=estimate.failure or reason) for estimate in taken.estimates]
                return replace(taken, estimates=failed, admitted=())
            else:  # what joined since the last good pass is what broke this one
                kept.update(self.memory.all_frames())
        self.kept, self._since_consolidation = kept, since
        return taken

    def _candidates(self, taken: Taken, window: Window, encoded: Encoded) -> KeptFrames:
        """The kept frames and the window's, thinned to what the memory can hold: what a consolidation computes."""
        kept = self.kept.copy()
        layer, choose = fullest_layer(self.memory), self._evictor.choose_around(window.anchors)
        most = most_kept_frames(self.memory, self._config)
        kept.update(thinned(layer, sorted({*kept, *taken.admitted}), most, choose), taken.estimates, encoded)
        return kept
