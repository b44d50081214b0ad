"""Dense attention that keeps the queries and keys of a few layers, so that a loss can tell them where to look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.training.matching import PatchMatches

if TYPE_CHECKING:
    from spark3r_core.models.interface import CrossLayer

SUPERVISED_LAYERS = 3
SUPERVISED_HEADS = 2
EXPLICIT_TOKENS = 1700  # queries of 8 frames; up to there softmax(QKᵀ)V trains 1.2 to 3 times as fast as fused on CPUs
STILL_WEIGHT = 0.1
FULL_WEIGHT_MOTION = 1.5  # patches
POSITION_BETA = 0.25  # patches
ABSENT = -1e4  # log-probability of a partner that does not exist; finite, so that its gradient is zero and not nan


def explicit_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(QKᵀ / sqrt(d)) V, written out."""
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(-1).to(v.dtype) @ v


@contextmanager
def explicit_on_cpu(device: torch.device) -> Iterator[None]:
    """Within it, attention inside a frame is written out on a CPU: its backward pass takes half the fused kernel's.

    The layers call torch.nn.functional by name, so the name is what is exchanged; training is the only caller in its
    process.
    """
    if device.type != "cpu":
        yield
        return
    fused = F.scaled_dot_product_attention
    try:
        F.scaled_dot_product_attention = explicit_attention
        yield
    finally:
        F.scaled_dot_product_attention = fused


class SupervisedDense:
    """Dense attention; keeps q and k, (B, 2, S, T, d) each, of the first two heads of the first three layers."""

    def __init__(self) -> None:
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.specials = 0
        self.shape = (0, 0)  # S, T
        self._fused = F.scaled_dot_product_attention

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        self.kept = []
        self.shape = (frames, cross_layers[0].tokens_per_frame)
        self.specials = cross_layers[0].special_tokens

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        del q_unrotated
        q, k = q.to(v.dtype), k.to(v.dtype)
        self.keep(layer, q, k)
        return self.attention(q, k, v)

    def keep(self, layer: int, q: Tensor, k: Tensor) -> None:
        """Note queries and keys (B, h, S*T, d) of a window if the layer is one that is told where to look."""
        if layer < SUPERVISED_LAYERS:
            first = slice(0, SUPERVISED_HEADS)
            self.kept.append((q[:, first].unflatten(2, self.shape), k[:, first].unflatten(2, self.shape)))

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """By the kernel that is faster, with its backward pass if there is one; there may be more keys than queries."""
        explicit = torch.is_grad_enabled() and q.shape[2] <= EXPLICIT_TOKENS and not q.is_cuda
        return explicit_attention(q, k, v) if explicit else self._fused(q, k, v)


@dataclass(frozen=True)
class AttentionLosses:
    """See `attention_loss`; scalars."""

    pairwise: Tensor
    window: Tensor
    position: Tensor
    accuracy: Tensor


def attention_loss(plan: SupervisedDense, matches: PatchMatches, queries: Tensor) -> AttentionLosses:
    """Cross-entropy of attention logits towards the true matches, for the patches `queries` (Q,) of every frame.

    The target is shared by the four patches around the true position, bilinearly: what is fetched is then the position
    to a fraction of a patch.

    Patches that hardly move count a tenth: most do, and a network that is paid for them learns to look at the same
    place instead of the same thing.

    Returns:
        pairwise: within the other frame of each pair, both heads (TRAINING.md's supervision);
        window: over all tokens of the window, so that the heads do not look at their own frame: head 0 of frames
            t > 0 must fetch from frame 0, head 1 from any supervised partner. Layers after the first only;
        position: how far the mean position under the attention within the other frame is from the true one, in patches,
            Huber, layers after the first. The cross-entropy alone leaves the fraction of a patch to be learned last,
            and its error is one that all patches of a pair share;
        accuracy: share of the patches that moved by FULL_WEIGHT_MOTION or more whose best patch in the other frame is
            the true one, last supervised layer.
    """
    first = [i for i, _ in matches.pairs]
    second = [j for _, j in matches.pairs]
    valid, target = matches.valid[..., queries], matches.target[..., queries]  # (B, P, Q)
    moved = matches.moved[..., queries]
    weight = valid * (moved / FULL_WEIGHT_MOTION).clamp(STILL_WEIGHT, 1.0)
    far = valid & (moved >= FULL_WEIGHT_MOTION)
    to_reference = weight * torch.tensor([j == 0 for j in second], device=valid.device)[None, :, None]
    pairwise = window = position = accuracy = valid.new_zeros((), dtype=torch.float32)
    centres, places = matches.centres, matches.place[:, :, queries]  # (N, 2), (B, P, Q, 2) in patches
    for index, (q, k) in enumerate(plan.kept):
        heads, frames = q.shape[1:3]
        q = q[:, :, :, plan.specials + queries] * q.shape[-1] ** -0.5  # (B, h, S, Q, d)
        goal = target[:, None].expand(-1, heads, -1, -1)
        corners = matches.corners[:, :, queries][:, None].expand(-1, heads, -1, -1, -1)
        shares = matches.shares[:, :, queries][:, None]
        if index == 0:
            among = (q[:, :, first] @ k[:, :, second, plan.specials :].transpose(-1, -2)).float()
        else:
            everything = (q.flatten(2, 3) @ k.flatten(2, 3).transpose(-1, -2)).float()
            everything = everything.unflatten(3, k.shape[2:4]).unflatten(2, q.shape[2:4])  # (B, h, S, Q, S, T)
            among = everything[:, :, first, :, second, plan.specials :].permute(1, 2, 0, 3, 4)
        hit = (among.gather(-1, corners) * shares).sum(-1)  # (B, h, P, Q)
        nll = among.logsumexp(-1) - hit
        pairwise = pairwise + (nll * weight[:, None]).sum() / (heads * len(plan.kept) * weight.sum().clamp_min(1))
        if index == 0:
            continue
        mean = among.softmax(-1) @ centres  # (B, h, P, Q, 2)
        off = F.smooth_l1_loss(mean, places[:, None].expand_as(mean), beta=POSITION_BETA, reduction="none").sum(-1)
        position = position + (off * valid[:, None]).sum() / (heads * (len(plan.kept) - 1) * valid.sum().clamp_min(1))
        if index == len(plan.kept) - 1:
            right = (among.argmax(-1) == goal) & far[:, None]
            accuracy = right.any(1).sum() / far.sum().clamp_min(1)
        total = everything.flatten(-2).logsumexp(-1)[:, :, first]  # (B, h, P, Q): over the whole window
        fetch = (total[:, 0] - hit[:, 0]) * to_reference
        window = window + fetch.sum() / to_reference.sum().clamp_min(1)
        # One query has several partners; any of them will do: -log of the summed probability.
        share = torch.where(valid, hit[:, 1] - total[:, 1], ABSENT)
        of_frame = [[p for p, i in enumerate(first) if i == t] for t in range(frames)]
        partner = torch.stack([share[:, pairs].logsumexp(1) for pairs in of_frame], 1)
        importance = torch.stack([weight[:, pairs].amax(1) for pairs in of_frame], 1)
        window = window - (partner.clamp_min(ABSENT / 2) * importance).sum() / importance.sum().clamp_min(1)
    return AttentionLosses(pairwise, window / max(1, len(plan.kept) - 1), position, accuracy)
