"""Spark3R's token reduction written token by token, to compare the vectorised code with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from spark3r_core.tokens.layout import TokenLayout


def slow_query_slots(content: Tensor, layout: TokenLayout, factor: int, group_frames: int) -> list[int]:
    """content: (N, C) of one batch item → for each token, the token it is merged into (itself if it stays)."""
    into = list(range(layout.num_tokens))
    for first in range(0, layout.frames, group_frames):
        patches = []
        for frame in range(first, min(first + group_frames, layout.frames)):
            for token in range(layout.special_tokens, layout.tokens_per_frame):
                patches.append(frame * layout.tokens_per_frame + token)
        destinations = patches[::factor]
        for token in patches:
            if token in destinations:
                continue
            cosines = [F.cosine_similarity(content[token], content[d], dim=0).item() for d in destinations]
            into[token] = destinations[cosines.index(max(cosines))]
    return into


def slow_reduced_attention(
    q: Tensor, k: Tensor, v: Tensor, q_unrotated: Tensor, layout: TokenLayout, factors: tuple[int, int], group: int
) -> Tensor:
    """(B, h, N, d) each → (B, h, N, d), with r_Q, r_KV = factors; keys and values of whole frames are kept."""
    query_factor, kv_factor = factors
    kept = [t for t in range(layout.num_tokens) if (t // layout.tokens_per_frame) % kv_factor == 0]
    out = torch.empty_like(q)
    for b in range(q.shape[0]):
        content = q_unrotated[b].permute(1, 0, 2).flatten(1)
        into = slow_query_slots(content, layout, query_factor, group)
        for token in range(layout.num_tokens):
            members = [t for t in range(layout.num_tokens) if into[t] == into[token]]
            query = torch.stack([q[b, :, t] for t in members]).mean(0)  # (h, d)
            for head in range(q.shape[1]):
                weights = (k[b, head, kept] @ query[head] / q.shape[-1] ** 0.5).softmax(0)
                out[b, head, token] = weights @ v[b, head, kept]
    return out
