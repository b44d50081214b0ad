"""How a stream's byte budget is laid out: pages per layer, window slots, and tokens of frames that are kept."""

from __future__ import annotations

from spark3r_core.memory.budget import allocate
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.kv_memory import KVMemory, page_dtype
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.stream.window import runs_support
from spark3r_core.tokens.sensitivity import sensitive_layers


def lay_out(model: Backbone, config: MemoryConfig, encoded: Encoded) -> KVMemory:
    """The empty memory for pictures of this size. Raises MemoryBudgetError where `config.max_bytes` are too few."""
    layers = model.cross_layers(encoded.image_hw)
    dtype = model.attention_dtype
    support_frames = config.max_support_frames if runs_support(config, model.capabilities) else 0
    consolidates = config.fill == "consolidate"
    budgets = allocate(
        page_bytes=[layer.page_bytes(page_dtype(layer, dtype)) for layer in layers],
        sensitive=sensitive_layers(model.name, layers),
        window_frames=config.max_new_frames + support_frames,
        max_bytes=config.max_bytes,
        max_pages=config.max_pages or model.capabilities.stream_pages,
        reserved_bytes=0 if consolidates else config.max_support_frames * frame_bytes(encoded),
        swap_frame_bytes=frame_bytes(encoded) if consolidates else None,
    )
    return KVMemory(layers, budgets, dtype, encoded.tokens.device)


def frame_bytes(encoded: Encoded) -> int:
    """Bytes of one frame's tokens."""
    return encoded.nbytes // encoded.tokens.shape[1]


def most_kept_frames(memory: KVMemory, config: MemoryConfig) -> int:
    """Frames whose tokens are kept at most."""
    if config.fill == "consolidate":
        return memory.budgets[fullest_layer(memory)].pages
    return config.max_support_frames


def fullest_layer(memory: KVMemory) -> int:
    """The first of the layers that hold the most pages: a consolidation computes the frames that it would hold."""
    return max(range(len(memory.budgets)), key=lambda layer: (memory.budgets[layer].pages, -layer))
