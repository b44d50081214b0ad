"""Softmax attention on a CPU that multiplies bfloat16: blocks of whole rows instead of PyTorch's fused kernel.

The fused kernel keeps logits in float32 and, without AMX, multiplies small tiles at a fraction of the CPU's speed. A
block of queries against all keys at once takes 0.7 of its time (AVX512-BF16, two cores: 16 ms instead of 23 for 1158
queries, 3474 keys, five heads of width 32). Logits are rounded to bfloat16 then, as weights are in both. In the bundled
network that is lost among the roundings of its linears: poses and depths deviate from float32 by 0.017 degrees and
3.9e-4 instead of 0.014 and 3.7e-4. Sharper attention would suffer more (five times the error of attention alone when
logits reach 15), which is why large networks, with wider heads, keep the fused kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_QUERIES = 128  # few queries are not worth the loop
MAX_BLOCK_WEIGHTS = 1 << 21  # queries times keys of a block: 4 MiB, which the caches of one or two cores hold
MAX_WIDTH = 32  # of a head; see above
MIN_ROWS, MAX_ROWS = 128, 512


def pays(q: Tensor, k: Tensor) -> bool:
    """Whether `attend` is the better way: bfloat16 on a CPU without AMX, narrow heads, enough queries, no gradients."""
    return (
        q.device.type == "cpu"
        and k.dtype == torch.bfloat16
        and q.shape[2] >= MIN_QUERIES
        and q.shape[3] <= MAX_WIDTH
        and not torch.is_grad_enabled()
        and not _has_amx()
    )


def fastest(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / sqrt(d)) v: `attend` where it pays, PyTorch's fused kernel elsewhere."""
    return (attend if pays(q, k) else F.scaled_dot_product_attention)(q, k, v)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / sqrt(d)) v of q (B, heads, Q, d) and k, v (B, heads, N, d) → (B, heads, Q, d), all bfloat16."""
    batch, heads, queries, width = q.shape
    keys = k.shape[2]
    rows = min(MAX_ROWS, max(MIN_ROWS, MAX_BLOCK_WEIGHTS // keys))
    weights = q.new_empty(min(rows, queries), keys)
    out = q.new_empty(q.shape)
    for b in range(batch):
        for head in range(heads):
            keys_transposed, values = k[b, head].T, v[b, head]
            for start in range(0, queries, rows):
                some = q[b, head, start : start + rows]
                block = weights[: len(some)]
                # the scale inside the product: it is applied before the one rounding of the logits
                torch.addmm(block, some, keys_transposed, beta=0, alpha=width**-0.5, out=block)
                torch.softmax(block, dim=-1, out=block)
                torch.mm(block, values, out=out[b, head, start : start + rows])
    return out


def _has_amx() -> bool:
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return check is not None and bool(check())
