"""The oracle of streams: a session whose memory is made by concatenation, without slots, moves or hiding."""

from __future__ import annotations

import torch

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.dense_reference import DenseMemory
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.memory_layout import lay_out
from spark3r_core.stream.remembered import Remembered
from spark3r_core.stream.session import StreamSession


def dense_session(model: Backbone, config: MemoryConfig, image_hw: tuple[int, int]) -> StreamSession:
    """A session for pictures of this size over the memory by concatenation, with as many pages as the paged one."""
    session = StreamSession(model, config)
    with torch.inference_mode():
        paged = lay_out(model, config, model.encode(torch.zeros(1, 1, 3, *image_hw)))
    dense = DenseMemory(paged.layers, [budget.pages for budget in paged.budgets])
    dense.budgets, dense.used_bytes, dense.limit_bytes = paged.budgets, 0, 0  # type: ignore[attr-defined]
    session._remembered = Remembered(model, config, dense)  # type: ignore[arg-type]
    return session
