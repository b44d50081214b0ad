"""Merging tokens by similarity and copying results back: pure functions on (B, N, C), knowing nothing of a model.

The grouped matching is Spark3R's (arXiv 2605.06270): frames are cut into groups of G consecutive ones; inside a group
every token that is no destination goes to its most similar destination, so that the cost grows with S*G, not S².
Which tokens are destinations is an argument. Everything is deterministic on CPU and CUDA: ties go to the first
destination, and means are taken bag by bag in token order (a gather, no atomics).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spark3r_core.tokens.layout import TokenLayout

# One block of similarities: about this many entries, but never fewer sources than make a matrix product worth while.
# On a CPU a block that stays in cache matches twice as fast as one of 2^24; a GPU wants large products.
BLOCK_ENTRIES = {"cpu": 1 << 19, "cuda": 1 << 26}
BLOCK_SOURCES = {"cpu": 256, "cuda": 1024}


@dataclass(frozen=True, eq=False)
class Merge:
    """An assignment of N tokens to M rows, the same M for every batch item.

    slot_of: (B, N) int64, the merged row of each token. Every row has at least one token.
    """

    slot_of: Tensor
    num_out: int
    _bags: Tensor  # (B*N,) token rows, row of the merge by row
    _starts: Tensor  # (B*M,) where each row's tokens begin in _bags

    @staticmethod
    def from_slots(slot_of: Tensor, num_out: int) -> Merge:
        """slot_of: (B, N) int64 with values in 0..num_out-1, each of them used in every batch item."""
        batch = slot_of.shape[0]
        offset = torch.arange(batch, device=slot_of.device)[:, None] * num_out
        ordered, bags = torch.sort((slot_of + offset).flatten(), stable=True)
        starts = torch.searchsorted(ordered, torch.arange(batch * num_out, device=slot_of.device))
        return Merge(slot_of, num_out, bags, starts)

    @property
    def num_in(self) -> int:
        return self.slot_of.shape[1]

    def counts(self) -> Tensor:
        """How many tokens each merged row stands for, (B, M) int64."""
        ends = torch.cat([self._starts[1:], self._starts.new_tensor([self._bags.numel()])])
        return (ends - self._starts).unflatten(0, (self.slot_of.shape[0], self.num_out))

    def merge(self, x: Tensor) -> Tensor:
        """Mean of the members of each row: (B, N, C) → (B, M, C). A row with one member is that token, bit for bit."""
        batch, tokens, width = x.shape
        if (batch, tokens) != tuple(self.slot_of.shape):
            raise ValueError(f"merge was matched for {tuple(self.slot_of.shape)} tokens, found {(batch, tokens)}")
        rows = x.reshape(batch * tokens, width)
        return F.embedding_bag(self._bags, rows, self._starts, mode="mean").unflatten(0, (batch, self.num_out))

    def unmerge(self, y: Tensor) -> Tensor:
        """Each token gets the row it was merged into: (B, M, C) → (B, N, C)."""
        batch, rows, width = y.shape
        if (batch, rows) != (self.slot_of.shape[0], self.num_out):
            raise ValueError(f"unmerge expects {(self.slot_of.shape[0], self.num_out)} rows, found {(batch, rows)}")
        offset = torch.arange(batch, device=y.device)[:, None] * rows
        flat = y.reshape(batch * rows, width).index_select(0, (self.slot_of + offset).flatten())
        return flat.unflatten(0, (batch, self.num_in))


def match_queries(features: Tensor, layout: TokenLayout, factor: int, group_frames: int) -> Merge:
    """Spark3R's query merging: destinations are every `factor`-th patch token of a group; special tokens stay alone.

    Args:
        features: (B, S*T, C), compared by cosine: queries before RoPE, heads concatenated.
        factor: r_Q; 1 keeps every token, a factor beyond the group's tokens leaves one destination per group.
        group_frames: G. The last group may be shorter.

    Returns:
        Merge of S*T tokens into S * special + the destinations, rows in that order.
    """
    if factor < 1 or group_frames < 1:
        raise ValueError(f"factor and group must be at least 1, found {factor} and {group_frames}")
    in_group = min(group_frames, layout.frames) * layout.patches_per_frame
    destinations = torch.arange(0, in_group, factor, device=features.device)
    nearest, num_destinations = match_in_groups(layout.patches(features), group_frames, destinations)
    special = layout.frames * layout.special_tokens
    slots = nearest.new_empty(features.shape[0], layout.frames, layout.tokens_per_frame)
    slots[:, :, : layout.special_tokens] = torch.arange(special, device=features.device).view(layout.frames, -1)
    slots[:, :, layout.special_tokens :] = nearest + special
    return Merge.from_slots(slots.flatten(1), special + num_destinations)


def match_in_groups(patches: Tensor, group_frames: int, destinations: Tensor) -> tuple[Tensor, int]:
    """Send every token to its most similar destination (cosine) within its group of frames.

    Args:
        patches: (B, S, P, C).
        group_frames: G consecutive frames form a group; the last one may be shorter.
        destinations: indices into a group's G*P tokens, ascending, the first below P; the same in every group (those
            beyond the end of a short last group do not exist there).

    Returns:
        (B, S, P) int64: rank of each token's destination among all destinations, group by group; and their number.
    """
    batch, frames, per_frame, _ = patches.shape
    group = min(group_frames, frames)
    full = frames // group
    ranks, total = [], 0
    whole, rest = (0, full, group), (full * group, 1, frames - full * group)
    for first, groups, size in (whole, rest):
        if size == 0:
            continue
        tokens = patches[:, first : first + groups * size].reshape(batch * groups, size * per_frame, -1)
        present = destinations[destinations < size * per_frame] if size < group else destinations
        nearest = _match_group(tokens, present).unflatten(0, (batch, groups))
        offset = total + torch.arange(groups, device=patches.device)[:, None] * present.numel()
        ranks.append((nearest + offset).reshape(batch, groups * size, per_frame))
        total += groups * present.numel()
    return torch.cat(ranks, 1), total


def nearest_by_cosine(source: Tensor, target: Tensor, max_similarities: int | None = None) -> tuple[Tensor, Tensor]:
    """Most similar target of each source and that cosine: (b, n, C), (b, m, C) → (b, n) int64, (b, n).

    Similarities are formed block by block (`max_similarities` entries; None: what suits the device), never all at
    once. Half-precision inputs are compared in float16 on CUDA, not bfloat16, whose eight bits cannot tell cosines
    above 0.99 apart (every near tie would go to the first destination); everything else in float32.
    """
    batch, rows = source.shape[:2]
    if max_similarities is None:
        kind = "cuda" if source.is_cuda else "cpu"
        max_similarities = max(BLOCK_ENTRIES[kind], BLOCK_SOURCES[kind] * target.shape[1])
    half = source.is_cuda and source.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float16 if half else torch.float32
    source, target = (F.normalize(x.float(), dim=-1).to(dtype) for x in (source, target))
    target = target.transpose(1, 2)
    rows_at_once = max(1, max_similarities // target.shape[2])
    batch_at_once = max(1, rows_at_once // max(1, rows))
    cosine, index = source.new_empty(batch, rows), torch.empty(batch, rows, dtype=torch.int64, device=source.device)
    for b in range(0, batch, batch_at_once):
        for r in range(0, rows, rows_at_once):
            block = slice(b, b + batch_at_once), slice(r, r + rows_at_once)
            best = torch.matmul(source[block], target[b : b + batch_at_once]).max(-1)
            cosine[block], index[block] = best.values, best.indices
    return index, cosine


def _match_group(tokens: Tensor, destinations: Tensor) -> Tensor:
    """tokens (b, n, C), destinations (m,) → (b, n): index into `destinations`; destinations go to themselves."""
    is_source = torch.ones(tokens.shape[1], dtype=torch.bool, device=tokens.device)
    is_source[destinations] = False
    sources = torch.arange(tokens.shape[1], device=tokens.device)[is_source]
    nearest = torch.empty(tokens.shape[:2], dtype=torch.int64, device=tokens.device)
    nearest[:, destinations] = torch.arange(destinations.numel(), device=tokens.device)
    if sources.numel():
        targets = tokens.index_select(1, destinations)
        nearest[:, sources] = nearest_by_cosine(tokens.index_select(1, sources), targets)[0]
    return nearest
