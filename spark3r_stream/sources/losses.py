"""Which pictures a decoder lost without an error, told by which packets became pictures and not by stamps."""

from __future__ import annotations

# These have packets that are never shown and say so to the decoder only, which answers every real loss by an error.
HIDING_CODECS = frozenset({"vp7", "vp8", "vp9", "av1"})
# No decoder holds this many pictures; a stream that gives none at all is remembered no further.
MAX_INSIDE = 4096


class LostPictures:
    """Tells pictures that a decoder lost without an error (their references never came) from those it still holds.

    Packets are numbered in the order of decoding. At most `reorder_depth` pictures that went in before another come out
    after it, and none after a key frame: whatever else is missing then is lost. Without this a live stream, which need
    not have an end, would never know.
    """

    def __init__(self, codec: str) -> None:
        self._hides = codec in HIDING_CODECS
        self._inside: dict[int, None] = {}  # in order
        self._forgotten = 0
        self._counted = 0  # errors of packets that are still inside, who knows which
        self._second_field_of: int | None = None

    def sent(self, number: int) -> None:
        """A packet went in."""
        if self._hides or number - 1 == self._second_field_of:
            return
        self._inside[number] = None
        if len(self._inside) > MAX_INSIDE:
            del self._inside[next(iter(self._inside))]
            self._forgotten += 1

    def failed(self, number: int | None) -> None:
        """A packet (None: one of those inside) was answered by an error, and counted there."""
        if number is None:
            self._counted += 1
        else:
            self._inside.pop(number, None)

    def came(self, number: int | None, *, is_key: bool, is_interlaced: bool, reorder_depth: int) -> int:
        """A picture came out of packet `number` (None: of the oldest); how many before it never will.

        is_interlaced: the picture may have come in two packets, one for each field.
        """
        if number is None:
            number = next(iter(self._inside), -1)
        self._inside.pop(number, None)
        self._second_field_of = number if is_interlaced else None
        if is_interlaced:
            self._inside.pop(number + 1, None)
        earlier = [n for n in self._inside if n < number]
        lost = earlier if is_key else earlier[: max(0, len(earlier) - reorder_depth)]
        for n in lost:
            del self._inside[n]
        return self._uncounted(len(lost))

    def ended(self) -> int:
        """How many never came out, when there is nothing inside any more."""
        lost = len(self._inside)
        self._inside.clear()
        return self._uncounted(lost)

    def _uncounted(self, lost: int) -> int:
        lost, self._forgotten = lost + self._forgotten, 0
        known = min(lost, self._counted)
        self._counted -= known
        return lost - known
