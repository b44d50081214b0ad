"""Which frame's page lies in which slot. Integers only: no tensor, no bytes, no policy.

Slots of one layer group, in order:

    [ hidden pages | visible pages | window pages | free ]
      0 .. hidden    .. committed     .. + window    .. slots

Attention of the window reads one contiguous run of slots: visible pages, then window pages. A frame that is run again
in a window (a support frame) has its old page moved into the hidden prefix, so that the window does not read it twice;
at commit the fresh page takes its place. A swap hides all old pages and puts the window's in their place. Every
operation returns the page moves that the tensor side must make, in that order, so the two can never disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Copy:
    """Copy the page in slot `source` over slot `target`."""

    source: int
    target: int


class PageTable:
    """Slots of one group of layers that always keep the same frames.

    Args:
        slots: pages the buffers hold in all, window pages included.
    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"a page table needs at least one slot, got {slots}")
        self.slots = slots
        self._frame_in_slot: list[int] = []
        self._hidden = 0
        self._window: list[int] = []

    @property
    def frames(self) -> list[int]:
        """Frames with a committed page, ascending."""
        return sorted(self._frame_in_slot)

    @property
    def committed(self) -> int:
        return len(self._frame_in_slot)

    @property
    def window(self) -> tuple[int, ...]:
        """Frames of the open window, in the order of their slots; empty when none is open."""
        return tuple(self._window)

    @property
    def window_slots(self) -> range:
        return range(self.committed, self.committed + len(self._window))

    @property
    def readable_slots(self) -> range:
        """The contiguous run that the open window's queries attend to."""
        return range(self._hidden, self.committed + len(self._window))

    def slot_of(self, frame: int) -> int:
        """Slot of a frame's page, the fresh one if the frame is in the open window; ValueError when it has none."""
        if frame in self._window:
            return self.committed + self._window.index(frame)
        return self._frame_in_slot.index(frame)

    def begin(self, window_frames: Sequence[int]) -> list[Copy]:
        """Open a window: reserve a slot per frame and hide the old pages of frames that are run again.

        Pages change places through the window's first slot, which nothing is written to yet: no memory is asked for.
        """
        self.check(window_frames)
        copies: list[Copy] = []
        for frame in window_frames:
            if frame not in self._frame_in_slot:
                continue
            slot = self.slot_of(frame)
            if slot != self._hidden:
                spare, pages = self.committed, self._frame_in_slot
                copies += [Copy(self._hidden, spare), Copy(slot, self._hidden), Copy(spare, slot)]
                pages[self._hidden], pages[slot] = pages[slot], pages[self._hidden]
            self._hidden += 1
        self._window = list(window_frames)
        return copies

    def begin_swap(self, window_frames: Sequence[int]) -> None:
        """Open a window that reads no old page and whose pages will replace them all."""
        self.check(window_frames)
        self._hidden = self.committed
        self._window = list(window_frames)

    def swap(self) -> list[Copy]:
        """Close a window opened by `begin_swap`: its pages are the only ones from now on."""
        if not self._window or self._hidden != self.committed:
            raise RuntimeError("no swap is open")
        # ascending, and no source lies below its target, so no page is overwritten before it was copied
        copies = [Copy(source, target) for target, source in enumerate(self.window_slots) if source != target]
        self._frame_in_slot = list(self._window)
        self._close()
        return copies

    def commit(self, keep: Collection[int]) -> list[Copy]:
        """Close the window: frames in `keep` get their fresh page, replacing the old one where there is one.

        A window frame that is not kept leaves no trace; its old page, if any, stays.
        """
        if not self._window:
            raise RuntimeError("no window is open")
        if unknown := set(keep) - set(self._window):
            raise ValueError(f"frames {sorted(unknown)} are not in the window {self._window}")
        copies: list[Copy] = []
        hidden_slot = {frame: slot for slot, frame in enumerate(self._frame_in_slot[: self._hidden])}
        first_window_slot = self.committed
        for offset, frame in enumerate(self._window):
            if frame not in keep:
                continue
            source = first_window_slot + offset
            if frame in hidden_slot:
                copies.append(Copy(source, hidden_slot[frame]))
            else:
                target = self.committed  # never above `source`, so no page is overwritten before it was copied
                if target != source:
                    copies.append(Copy(source, target))
                self._frame_in_slot.append(frame)
        self._close()
        return copies

    def rollback(self) -> None:
        """Close the window as if it had never been; hidden pages become visible again."""
        if not self._window:
            raise RuntimeError("no window is open")
        self._close()

    def clear(self) -> None:
        """Drop all pages."""
        if self._window:
            raise RuntimeError("pages cannot be dropped while a window is open")
        self._frame_in_slot = []

    def evict(self, frame: int) -> list[Copy]:
        """Drop a committed page; the last page moves into the hole so that the pages stay contiguous."""
        if self._window:
            raise RuntimeError("pages cannot be evicted while a window is open")
        slot, last = self.slot_of(frame), self.committed - 1
        self._frame_in_slot[slot] = self._frame_in_slot[last]
        self._frame_in_slot.pop()
        return [] if slot == last else [Copy(last, slot)]

    def check(self, window_frames: Sequence[int]) -> None:
        """Whether a window of these frames could be opened. Raises RuntimeError or ValueError, with the reason."""
        if self._window:
            raise RuntimeError("a window is open already; commit or roll it back first")
        if len(set(window_frames)) != len(window_frames):
            raise ValueError(f"a frame stands twice in the window: {list(window_frames)}")
        if self.committed + len(window_frames) > self.slots:
            raise ValueError(
                f"{self.committed} pages and a window of {len(window_frames)} do not fit {self.slots} slots; "
                "run fewer frames per window or evict first"
            )

    def _close(self) -> None:
        self._hidden = 0
        self._window = []
