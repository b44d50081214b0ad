"""How cross-frame attention is computed: the protocol, and the two plain plans that serve as references.

A backbone forms q, k, v and hands them to a plan; it does not know whether the plan attends densely, prunes, merges
or reads a memory. Shapes: B batch, h heads, S frames of T tokens each, d head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from spark3r_core.models.interface import CrossLayer


class AttentionPlan(Protocol):
    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        """Called once per decode, before the first layer: S and what each cross-frame layer looks like."""
        ...

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        """Attention output before the projection.

        Args:
            layer: index into the list given to `begin`.
            q, k, v: (B, h, S*T, d), after q/k-norm and RoPE, tokens frame by frame.
            q_unrotated: q before RoPE, for plans that match tokens by content; None where the layer has no RoPE.

        Returns:
            (B, h, S*T, d)
        """
        ...


class Dense:
    """Every token of every frame sees every other: what the released models do."""

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        del frames, cross_layers

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        del layer, q_unrotated
        return F.scaled_dot_product_attention(q, k, v)


class BlockCausal:
    """Oracle for streaming: frames of window w see all frames of windows <= w, by an explicit mask.

    Args:
        window_sizes: new frames per window, in order; their sum must equal the number of frames decoded.
    """

    def __init__(self, window_sizes: Sequence[int]) -> None:
        self.window_of_frame = [w for w, size in enumerate(window_sizes) for _ in range(size)]
        self._tokens_per_frame: list[int] = []

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        if frames != len(self.window_of_frame):
            raise ValueError(f"windows hold {len(self.window_of_frame)} frames in all, the model was given {frames}")
        self._tokens_per_frame = [layer.tokens_per_frame for layer in cross_layers]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        del q_unrotated
        window = torch.tensor(self.window_of_frame, device=q.device).repeat_interleave(self._tokens_per_frame[layer])
        visible = window[:, None] >= window[None, :]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
