"""Offline Spark3R (arXiv 2605.06270) as an attention plan: queries merged inside groups, K/V pruned by temporal stride.

Only full global layers are touched. Matching compares queries before RoPE, heads concatenated; the mean is taken over
the queries after RoPE; every token gets back the output of the row it was merged into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from spark3r_core.attention import cpu_bfloat16
from spark3r_core.timing import Stopwatch
from spark3r_core.tokens.layout import TokenLayout, stride_frames
from spark3r_core.tokens.merge import Merge, match_in_groups, match_queries
from spark3r_core.tokens.schedule import LayerReduction, Reduction

if TYPE_CHECKING:
    from spark3r_core.models.interface import CrossLayer


def join_heads(x: Tensor) -> Tensor:
    """(B, h, N, d) → (B, N, h*d)"""
    return x.transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, h*d) → (B, h, N, d)"""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


class Reduced:
    """Plan that reduces the tokens of global layers; where both factors are 1 it is `Dense`, bit for bit.

    Args:
        reduction: factors and protections.
        model_name: registry name, for the sensitivity table; None: no table, every layer sensitive.
        stopwatch: gets the seconds spent in "match" and in "global" (attention itself with merge, prune and unmerge).
    """

    def __init__(self, reduction: Reduction, model_name: str | None = None, stopwatch: Stopwatch | None = None) -> None:
        self.reduction = reduction
        self.model_name = model_name
        self._stopwatch = stopwatch or Stopwatch()
        self._layouts: list[TokenLayout] = []
        self._factors: list[LayerReduction] = []
        self._kept_tokens: dict[tuple[TokenLayout, int, torch.device], Tensor] = {}

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        self._layouts = [TokenLayout(frames, layer.tokens_per_frame, layer.special_tokens) for layer in cross_layers]
        self._factors = self.reduction.layers(frames, cross_layers, self.model_name)
        self._kept_tokens.clear()

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        layout, factors = self._layouts[layer], self._factors[layer]
        if q.shape[2] != layout.num_tokens:
            raise ValueError(f"layer {layer} has {q.shape[2]} tokens, begin() announced {layout.num_tokens}")
        merge = None
        if factors.query_factor > 1:
            with self._stopwatch.measure("match", q.device):
                content = join_heads(q if q_unrotated is None else q_unrotated)
                merge = match_queries(content, layout, factors.query_factor, self.reduction.group_frames)
        if factors.kv_factor > 1 and self.reduction.kv_mode == "merge":
            with self._stopwatch.measure("match", q.device):
                nearest, rows = match_in_groups(
                    layout.patches(join_heads(k)),
                    factors.kv_factor,
                    torch.arange(layout.patches_per_frame, device=k.device),
                )
                kv_merge = Merge.from_slots(nearest.flatten(1), rows)
        with self._stopwatch.measure("global", q.device):
            if factors.kv_factor > 1:
                if self.reduction.kv_mode == "merge":
                    k, v = (self._merge_kv(x, kv_merge, layout, factors.kv_factor) for x in (k, v))
                else:
                    kept = self._kept(layout, factors.kv_factor, q.device)
                    k, v = k.index_select(2, kept), v.index_select(2, kept)
            if merge is None:
                # with whole K/V this is `Dense`, bit for bit
                return (
                    cpu_bfloat16.fastest(q, k, v) if factors.kv_factor > 1 else F.scaled_dot_product_attention(q, k, v)
                )
            out = cpu_bfloat16.fastest(split_heads(merge.merge(join_heads(q)), q.shape[1]), k, v)
            return split_heads(merge.unmerge(join_heads(out)), q.shape[1])

    def _kept(self, layout: TokenLayout, factor: int, device: torch.device) -> Tensor:
        """Tokens whose K/V stay; formed once per window, not once per layer."""
        key = (layout, factor, device)
        if key not in self._kept_tokens:
            frames = stride_frames(layout.frames, factor, self.reduction.always_kept)
            self._kept_tokens[key] = layout.kept_index(frames, self.reduction.all_special_kv).to(device)
        return self._kept_tokens[key]

    def _merge_kv(self, x: Tensor, merge: Merge, layout: TokenLayout, factor: int) -> Tensor:
        frames = None if self.reduction.all_special_kv else stride_frames(layout.frames, factor)
        special = x.index_select(2, layout.special_index(frames).to(x.device))
        patches = split_heads(merge.merge(layout.patches(join_heads(x)).flatten(1, 2)), x.shape[1])
        return torch.cat([special, patches], 2)
