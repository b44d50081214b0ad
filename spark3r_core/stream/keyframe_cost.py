"""What one keyframe costs with a model, in bytes and in operations, without its weights and without computing anything.

Torch's fake tensors have shapes and no numbers: the network runs over them, and what it would allocate and multiply is
counted. What the attention to a full memory costs comes from the sizes of that memory's pages.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from spark3r_core.attention.plan import Dense
from spark3r_core.memory.budget import MIN_PAGES
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Encoded
from spark3r_core.models.layers import trunk_linears
from spark3r_core.models.registry import BUNDLED, load_model, model_spec
from spark3r_core.stream.memory_layout import lay_out
from spark3r_core.stream.session import StreamSession

WINDOW = 3  # frames that the mapper's network sees at once: the keyframe, the anchor and the newest


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))


# attention as a CPU computes it, which torch's counter leaves out
UNCOUNTED = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


@dataclass(frozen=True)
class KeyframeCost:
    """weights_bytes: of the loaded network. memory_bytes: of keys and values. work_bytes: of what is computed on the
    way, at its highest. operations: additions and multiplications of one keyframe when the memory is full."""

    weights_bytes: int
    memory_bytes: int
    work_bytes: int
    operations: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.memory_bytes + self.work_bytes


def keyframe_cost(name: str, dtype: torch.dtype, pages: int | None = None) -> KeyframeCost:
    """Of a model of the registry at its native size for a 4:3 picture. dtype: of the trunk. pages: that a sensitive
    layer keeps; None: the model's own number. Raises CheckpointError for an unknown name."""
    spec = model_spec(name)
    width, height = spec.native_size
    with torch.inference_mode(), FakeTensorMode(allow_non_fake_inputs=True):
        model = spec.build().eval().requires_grad_(False)
        model.name = name
        for module in trunk_linears(model).values():  # not by `set_compute_dtype`: fake parameters take no other data
            for kind in ("weight", "bias"):
                if (parameter := getattr(module, kind)) is not None:
                    setattr(module, kind, nn.Parameter(parameter.to(dtype), requires_grad=False))
        weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter, _HighWater() as work:
            encoded = model.encode(torch.zeros(1, 1, 3, height, width))
            decoded = model.decode(Encoded.cat([encoded] * WINDOW), Dense())
            model.predict(decoded)
        memory = lay_out(model, MemoryConfig(max_new_frames=1, max_pages=pages), encoded)
        reading = sum(
            4
            * WINDOW
            * layer.tokens_per_frame
            * budget.pages
            * layer.tokens_per_frame
            * layer.num_heads
            * layer.head_dim
            for layer, budget in zip(memory.layers, memory.budgets, strict=True)
        )
        return KeyframeCost(weights, memory.limit_bytes, work.most_bytes, int(counter.get_total_flops()) + reading)


def operations_per_second(name: str, device: str, dtype: torch.dtype, steps: int = 4) -> float:
    """How fast this machine computes keyframes, measured: the best of some steps of a model, with packaged or random
    weights, at its native size and with a memory of the fewest pages."""
    width, height = model_spec(name).native_size
    model = load_model(name, device, dtype, weights=None if name == BUNDLED else "random")
    session = StreamSession(model, MemoryConfig(max_new_frames=1, max_pages=MIN_PAGES), refine=False, tied=True)
    noise = np.random.default_rng(0)
    best_s = float("inf")
    for index in range(WINDOW - 1 + steps):  # the first ones see fewer frames
        picture = noise.integers(0, 256, (1, 3, height, width), np.uint8)
        started_s = time.perf_counter()
        session.step(picture, [index])
        if index >= WINDOW - 1:
            best_s = min(best_s, time.perf_counter() - started_s)
    return keyframe_cost(name, dtype, MIN_PAGES).operations / best_s


class _HighWater(TorchDispatchMode):
    """The most bytes of tensors that were made inside and were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most_bytes = 0
        self._bytes = 0
        self._seen = weakref.WeakSet[torch.UntypedStorage]()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self._bytes += size
        self.most_bytes = max(self.most_bytes, self._bytes)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self._bytes -= size
