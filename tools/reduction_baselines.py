"""Baselines to measure Spark3R against: uniform merging in the manner of FastVGGT, and no global attention at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from spark3r_core.attention.reduced import join_heads, split_heads
from spark3r_core.timing import Stopwatch
from spark3r_core.tokens.layout import TokenLayout
from spark3r_core.tokens.merge import Merge, nearest_by_cosine

if TYPE_CHECKING:
    from spark3r_core.models.interface import CrossLayer


class NoGlobalAttention:
    """The limit that no reduction can beat: a token of a full global layer sees only itself (the output is v).

    The layer's linears and MLP still run; register and camera layers, a few tokens per frame, stay dense.
    """

    def __init__(self) -> None:
        self._kinds: list[str] = []

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        del frames
        self._kinds = [layer.kind for layer in cross_layers]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        del q_unrotated
        return v if self._kinds[layer] == "global" else F.scaled_dot_product_attention(q, k, v)


class UniformMerging:
    """Token merging applied alike to q, k and v across the whole sequence, after FastVGGT's paper (arXiv 2509.02560).

    Protected and never merged: special tokens, every token of the reference frame (frame 0, all of them
    destinations), and `salient_share` of the other patches, taken evenly along the sequence. Of the rest one in
    `region` patches is a destination (the paper samples one at random from each small region; here the first one, so
    that runs repeat), the others are sources. The most similar sources, up to `merge_ratio` of all tokens, merge into
    their most similar destination anywhere in the sequence; each gets its output back. Matching therefore costs
    O(S²), as in the paper; a plan sees queries, so these are compared.

    The paper's text at hand names no region size. 4 (2 x 2 patches, as in the merging that it builds on) leaves a
    third of the tokens, which agrees with its published times.

    Args:
        stopwatch: gets "match" and "global" seconds, as in `Reduced`.
    """

    def __init__(
        self,
        merge_ratio: float = 0.9,
        region: int = 4,
        salient_share: float = 0.1,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        if not 0 <= merge_ratio < 1 or region < 1 or not 0 <= salient_share < 1:
            raise ValueError(f"merge ratio {merge_ratio}, region {region}, salient share {salient_share} make no sense")
        self.merge_ratio, self.region, self.salient_share = merge_ratio, region, salient_share
        self._stopwatch = stopwatch or Stopwatch()
        self._layouts: list[TokenLayout | None] = []
        self._roles: dict[TokenLayout, tuple[Tensor, Tensor]] = {}

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        self._layouts = [
            TokenLayout(frames, layer.tokens_per_frame, layer.special_tokens) if layer.kind == "global" else None
            for layer in cross_layers
        ]
        self._roles = {layout: self._split(layout) for layout in self._layouts if layout is not None}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        layout = self._layouts[layer]
        merge = None
        if layout is not None:
            with self._stopwatch.measure("match", q.device):
                merge = self._match(join_heads(q if q_unrotated is None else q_unrotated), layout)
        with self._stopwatch.measure("global", q.device):
            if merge is None:
                return F.scaled_dot_product_attention(q, k, v)
            q, k, v = (split_heads(merge.merge(join_heads(x)), x.shape[1]) for x in (q, k, v))
            out = F.scaled_dot_product_attention(q, k, v)
            return split_heads(merge.unmerge(join_heads(out)), q.shape[1])

    def _split(self, layout: TokenLayout) -> tuple[Tensor, Tensor]:
        """Token indices of destinations and of sources; what is neither stays alone."""
        reference = layout.patch_index([0])
        patches = layout.patch_index(range(1, layout.frames))
        every = round(1 / self.salient_share) if self.salient_share else 0
        salient = torch.zeros(patches.numel(), dtype=torch.bool)
        if every:
            salient[::every] = True
        free = patches[~salient]
        is_destination = torch.zeros(free.numel(), dtype=torch.bool)
        is_destination[:: self.region] = True
        return torch.cat([reference, free[is_destination]]), free[~is_destination]

    def _match(self, content: Tensor, layout: TokenLayout) -> Merge | None:
        destinations, sources = (index.to(content.device) for index in self._roles[layout])
        merged = min(sources.numel(), int(self.merge_ratio * layout.num_tokens))
        if merged == 0:
            return None
        batch, tokens, _ = content.shape
        targets = content.index_select(1, destinations)
        nearest, cosine = nearest_by_cosine(content.index_select(1, sources), targets)
        order = cosine.sort(dim=1, descending=True, stable=True).indices[:, :merged]
        chosen, into = sources[order], destinations[nearest.gather(1, order)]
        stays = torch.ones(batch, tokens, dtype=torch.bool, device=content.device).scatter_(1, chosen, False)
        row = stays.cumsum(1) - 1  # rows of the merge: the tokens that stay, in their order
        return Merge.from_slots(row.scatter(1, chosen, row.gather(1, into)), tokens - merged)
