"""Which global layers of which model are sensitive to pruned keys and values: the one table.

Indices are 0-based and count the model's *full global* layers only, in order. VGGT, pi3 and DA3-Giant are as published
(arXiv 2605.06270); `spark3r_core.offline.probe` measures such a table. For VGGT-Omega the paper lists 10-13, 15-17
and 21 of 24 inter-frame rounds; it has 19 full global layers, so these can only be round numbers (they step over
the register-only round 14), and here the register rounds 2, 6, 9, 14, 20 are counted out: round 10 is global layer 7,
round 21 is 16.

A model without an entry treats every layer as sensitive until it is probed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark3r_core.models.interface import CrossLayer

SENSITIVE_LAYERS: dict[str, frozenset[int]] = {
    "vggt-1b": frozenset(range(11, 17)),
    "pi3": frozenset(range(11, 17)),
    "da3-giant": frozenset(range(3, 13)),
    "bundled": frozenset(),  # measured: docs/reduction/sensitivity.json
    "vggt-omega-1b": frozenset({7, 8, 9, 10, 11, 12, 13, 16}),
}


def sensitive_layers(
    model_name: str | None, cross_layers: Sequence[CrossLayer], table: Collection[int] | None = None
) -> list[bool]:
    """Whether each cross-frame layer is sensitive; one flag per layer, in order.

    Args:
        model_name: registry name, looked up in SENSITIVE_LAYERS; without an entry every layer is sensitive.
        table: indices among the full global layers, instead of the model's entry.

    Layers that are not "global" (camera trunks, register layers) are tiny, never reduced, and count as sensitive.
    """
    if table is None:
        table = SENSITIVE_LAYERS.get(model_name or "")
    flags, index = [], 0
    for layer in cross_layers:
        flags.append(layer.kind != "global" or table is None or index in table)
        index += layer.kind == "global"
    return flags
