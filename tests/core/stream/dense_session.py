"""The oracle of streams: a session whose memory is made by concatenation, without slots, moves or hiding."""

from __future__ import annotations

from spark3r_core.memory.dense_reference import DenseMemory
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.models.interface import Encoded
from spark3r_core.stream.session import StreamSession


class DenseSession(StreamSession):
    """The same session over the memory by concatenation."""

    def lay_out(self, encoded: Encoded) -> KVMemory:
        paged = super().lay_out(encoded)
        dense = DenseMemory(paged.layers, [budget.pages for budget in paged.budgets])
        dense.budgets, dense.used_bytes, dense.limit_bytes = paged.budgets, 0, 0  # type: ignore[attr-defined]
        return dense  # type: ignore[return-value]
