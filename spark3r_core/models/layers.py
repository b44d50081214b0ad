"""Transformer pieces shared by all families: normalisation, feed-forward, attention and the pre-norm block.

Shapes: B batch, S frames, T tokens per frame, C width, h heads, d = C / h. Layers take (B, S, T, C).

Precision follows what the references do under bf16 autocast: linears and attention in the dtype of their weights,
LayerNorm in the dtype of its own weights (float32), and the residual stream as wide as what is added to it
(LayerScale vectors and special tokens stay float32). `set_compute_dtype` switches the linears; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.rope import Rope


class Norm(nn.LayerNorm):
    """LayerNorm computed in the dtype of its weights, whatever the input is (float32 beside bf16 linears)."""

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.weight.dtype if self.elementwise_affine else torch.float32
        return super().forward(x if x.dtype == torch.float64 else x.to(dtype))


class Linear(nn.Linear):
    """Linear layer that casts its input to its own weights' dtype; the output has that dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class MaskedBiasLinear(Linear):
    """Linear whose bias is multiplied by a stored mask (VGGT-Omega's `qkv`). The mask is read, never derived."""

    bias_mask: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        # explicit device here and below: these exist also in a model that is being built on `meta`
        self.register_buffer("bias_mask", torch.ones(out_features, device="cpu"))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias * self.bias_mask.to(self.bias.dtype))


class Conv2d(nn.Conv2d):
    """Convolution that casts its input to its own weights' dtype (patch embeddings, which belong to the trunk)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class ImageNetNormalise(nn.Module):
    """(x - mean) / std per channel of x (..., 3, H, W) in [0, 1]. The constants are not part of the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values, device="cpu")[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class LayerScale(nn.Module):
    def __init__(self, dim: int, initial: float = 1.0) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Mlp(nn.Module):
    """fc2(GELU(fc1(x))), exact erf GELU: the tanh form is off by 1e-3 relative."""

    def __init__(self, dim: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GatedMlp(nn.Module):
    """w3(silu(a) * b) with [a | b] = w12(x): SwiGLU, hidden width 2/3 of an MLP's, rounded up to a multiple of 8."""

    def __init__(self, dim: int, mlp_hidden: int) -> None:
        super().__init__()
        hidden = (int(mlp_hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = Linear(dim, 2 * hidden)
        self.w3 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class Attention(nn.Module):
    """Multi-head attention, per frame or across frames.

    q, k, v come out of one fused linear in the order [q | k | v]; q and k are normalised over the head width where the
    model does so, then rotated where the layer has RoPE. Across frames they go to the plan in this state.
    """

    def __init__(
        self, dim: int, num_heads: int, *, qk_norm: bool = False, qk_norm_eps: float = 1e-5, masked_bias: bool = False
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} cannot be split into {num_heads} heads")
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = MaskedBiasLinear(dim, 3 * dim) if masked_bias else Linear(dim, 3 * dim)
        self.q_norm = Norm(self.head_dim, eps=qk_norm_eps) if qk_norm else nn.Identity()
        self.k_norm = Norm(self.head_dim, eps=qk_norm_eps) if qk_norm else nn.Identity()
        self.proj = Linear(dim, dim)

    def forward(
        self, x: Tensor, rope: Rope | None = None, plan: AttentionPlan | None = None, layer: int | None = None
    ) -> Tensor:
        """x: (B, S, T, C) → the same shape.

        Args:
            rope: tables of one frame (T rows), the same for every frame; None where the layer has no RoPE.
            plan: how to attend over all S*T tokens; None attends within each frame.
            layer: index of this layer in `cross_layers()`; needed with a plan.
        """
        batch, frames, tokens, width = x.shape
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim))  # (B, S, T, 3, h, d)
        q, k, v = qkv.permute(3, 0, 4, 1, 2, 5).unbind(0)  # each (B, h, S, T, d)
        q, k = self.q_norm(q), self.k_norm(k)
        q_unrotated = None
        if rope is not None:
            q_unrotated = q
            q, k = rope.apply(q), rope.apply(k)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if plan is None:
            # (B, S, h, T, d): a leading B*S batch keeps scaled_dot_product_attention on its fused kernels
            q, k, v = (t.transpose(1, 2).flatten(0, 1) for t in (q, k, v))
            out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)  # (B*S, T, h, d)
        else:
            if layer is None:
                raise ValueError("attention across frames needs the index of its layer")
            q, k, v = (t.flatten(2, 3) for t in (q, k, v))
            if q_unrotated is not None:
                q_unrotated = q_unrotated.to(v.dtype).flatten(2, 3)
            out = plan.attend(layer, q, k, v, q_unrotated=q_unrotated).transpose(1, 2)  # (B, S*T, h, d)
        return self.proj(out.reshape(batch, frames, tokens, width))


class Block(nn.Module):
    """Pre-norm transformer block: x + g1 proj(attn(LN1(x))), then x + g2 mlp(LN2(x)).

    Args:
        eps: of the two block norms (it differs between families and places).
        qk_norm: LayerNorm of q and k per head, with its own `qk_norm_eps`.
        layer_scale: initial value of the gains g1, g2; None leaves them out (π³'s decoders).
        masked_bias: Omega's masked qkv bias.
        gated: SwiGLU instead of the GELU MLP (DA3-giant).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        eps: float,
        qk_norm: bool = False,
        qk_norm_eps: float = 1e-5,
        layer_scale: float | None = 1.0,
        masked_bias: bool = False,
        gated: bool = False,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.norm1 = Norm(dim, eps=eps)
        self.attn = Attention(dim, num_heads, qk_norm=qk_norm, qk_norm_eps=qk_norm_eps, masked_bias=masked_bias)
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.norm2 = Norm(dim, eps=eps)
        self.mlp = (GatedMlp if gated else Mlp)(dim, int(dim * mlp_ratio))
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)

    def forward(
        self,
        x: Tensor,
        rope: Rope | None = None,
        plan: AttentionPlan | None = None,
        layer: int | None = None,
        frames_per_chunk: int | None = None,
    ) -> Tensor:
        """x: (B, S, T, C) → the same shape; per frame without a plan, across frames with one.

        frames_per_chunk bounds the peak memory: that many frames at a time go through everything that does not mix
        frames (the whole block, or the MLP of a cross-frame block). The result does not depend on it.
        """
        if plan is None:
            return by_frames(lambda part: self._mlp(self._attention(part, rope, None, None)), x, frames_per_chunk)
        return by_frames(self._mlp, self._attention(x, rope, plan, layer), frames_per_chunk)

    def _attention(self, x: Tensor, rope: Rope | None, plan: AttentionPlan | None, layer: int | None) -> Tensor:
        return x + self.ls1(self.attn(self.norm1(x), rope, plan, layer))

    def _mlp(self, x: Tensor) -> Tensor:
        return x + self.ls2(self.mlp(self.norm2(x)))


def by_frames(function: Callable[[Tensor], Tensor], x: Tensor, frames_per_chunk: int | None) -> Tensor:
    """Apply a function that treats frames alone to x (B, S, ...), `frames_per_chunk` frames (of B*S) at a time."""
    batch, frames = x.shape[:2]
    if frames_per_chunk is None or frames_per_chunk >= batch * frames:
        return function(x)
    if frames_per_chunk < 1:
        raise ValueError(f"frames_per_chunk must be at least 1, not {frames_per_chunk}")
    parts = [function(part) for part in x.flatten(0, 1).unsqueeze(0).split(frames_per_chunk, dim=1)]
    return torch.cat(parts, dim=1).squeeze(0).unflatten(0, (batch, frames))


def set_compute_dtype(model: nn.Module, dtype: torch.dtype, trunk: Sequence[str] | None = None) -> nn.Module:
    """Put the linears and patch embeddings of the trunk into `dtype`; norms, gains, tokens and heads stay as they are.

    Args:
        trunk: prefixes of module names that belong to the trunk; None reads `model.trunk_prefixes`, which every
            Backbone declares (encoder, frame and global blocks, π³'s per-frame decoders: what runs under autocast
            in the reference).

    Returns:
        The same model, changed in place.
    """
    for module in trunk_linears(model, trunk).values():
        for name in ("weight", "bias"):
            parameter = getattr(module, name)
            if parameter is not None:
                parameter.data = parameter.data.to(dtype)
    return model


def trunk_linears(model: nn.Module, trunk: Sequence[str] | None = None) -> dict[str, nn.Linear | nn.Conv2d]:
    """The modules that `set_compute_dtype` converts, by name; the checkpoint loader reads them too."""
    prefixes = tuple(model.trunk_prefixes if trunk is None else trunk)  # type: ignore[arg-type]
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (Linear, Conv2d)) and name.startswith(prefixes)
    }
