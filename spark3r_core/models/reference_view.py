"""Which view Depth-Anything-3 takes as its world when it may look at all of them."""

from __future__ import annotations

import torch
from torch import Tensor

STRATEGIES = ("first", "middle", "saddle_balanced", "saddle_sim_range")


def choose_reference(cls_tokens: Tensor, strategy: str) -> Tensor:
    """cls_tokens (B, S, C) → (B,) index of the chosen frame. With fewer than three frames that is the first.

    saddle_balanced takes the frame that is most average in three respects (similarity to the others, token length,
    spread of its entries); saddle_sim_range the one with the widest range of similarities.
    """
    batch, frames = cls_tokens.shape[:2]
    if frames < 3 or strategy == "first":
        return torch.zeros(batch, dtype=torch.long, device=cls_tokens.device)
    if strategy == "middle":
        return torch.full((batch,), frames // 2, device=cls_tokens.device)
    length = cls_tokens.norm(dim=-1)
    unit = cls_tokens / length[..., None]
    similarity = unit @ unit.transpose(1, 2)  # (B, S, S)
    if strategy == "saddle_sim_range":
        off_diagonal = similarity - torch.eye(frames, device=similarity.device, dtype=similarity.dtype)
        return (off_diagonal.amax(-1) - off_diagonal.amin(-1)).argmax(-1)
    if strategy != "saddle_balanced":
        raise ValueError(f"reference strategies are {', '.join(STRATEGIES)}; got {strategy!r}")
    measures = torch.stack(((similarity.sum(-1) - 1) / (frames - 1), length, unit.var(-1)), dim=-1)  # (B, S, 3)
    low, high = measures.amin(1, keepdim=True), measures.amax(1, keepdim=True)
    return ((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(-1).argmin(-1)
