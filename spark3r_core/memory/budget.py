"""From a byte budget to pages per layer. Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spark3r_core.errors import MemoryBudgetError

SENSITIVE_PAGES = 40  # Spark3R: r_KV = ceil(S / 40) keeps about 40 frames' keys in layers that need them ...
INSENSITIVE_SHARE = 3  # ... and three times fewer in the others
MIN_PAGES = 2  # the anchor and one more: with less there is no memory


@dataclass(frozen=True)
class LayerBudget:
    """Pages one layer keeps and the slots its buffer has (pages + one window, or twice the pages for a swap)."""

    pages: int
    slots: int


def pages_in_layer(sensitive_pages: int, sensitive: bool) -> int:
    """Pages of a layer when sensitive layers hold `sensitive_pages`."""
    return sensitive_pages if sensitive else max(MIN_PAGES, sensitive_pages // INSENSITIVE_SHARE)


def allocate(
    page_bytes: Sequence[int],
    sensitive: Sequence[bool],
    window_frames: int,
    max_bytes: int | None,
    max_pages: int = SENSITIVE_PAGES,
    reserved_bytes: int = 0,
    swap_frame_bytes: int | None = None,
) -> list[LayerBudget]:
    """The most pages that fit `max_bytes`, window slots and `reserved_bytes` included.

    Args:
        page_bytes: bytes of one frame's keys and values, per layer.
        sensitive: whether a layer is sensitive to pruning (Spark3R's table), per layer.
        window_frames: slots every layer needs for the frames of one window (support frames included).
        max_bytes: the budget; None asks for `max_pages` whatever it costs.
        max_pages: no layer keeps more.
        reserved_bytes: what else lives on this budget (tokens of the support frames).
        swap_frame_bytes: for a memory whose pages are replaced all at once: bytes of one kept frame's tokens, of which
            there are as many as a sensitive layer has pages; new pages then need slots beside the old ones.

    Raises:
        MemoryBudgetError: not even MIN_PAGES per layer fit.
    """

    def layer_budget(sensitive_pages: int, is_sensitive: bool) -> LayerBudget:
        n = pages_in_layer(sensitive_pages, is_sensitive)
        return LayerBudget(n, n + (window_frames if swap_frame_bytes is None else max(window_frames, n)))

    def total(sensitive_pages: int) -> int:
        slots = (layer_budget(sensitive_pages, s).slots * b for b, s in zip(page_bytes, sensitive, strict=True))
        return reserved_bytes + sensitive_pages * (swap_frame_bytes or 0) + sum(slots)

    pages = max(MIN_PAGES, max_pages)
    if max_bytes is not None:
        if total(MIN_PAGES) > max_bytes:
            raise MemoryBudgetError(
                f"a memory of {max_bytes / 2**20:.1f} MiB cannot hold one window of {window_frames} frames and "
                f"{MIN_PAGES} pages per layer; this model at this image size needs at least "
                f"{total(MIN_PAGES) / 2**20:.1f} MiB: raise --memory, or lower --window or --size"
            )
        while total(pages) > max_bytes:
            pages -= 1
    return [layer_budget(pages, s) for s in sensitive]
