"""Pi3X, image-only: pi3 with convolutional dense heads and a metric scale. Conditioning on depth, rays or poses is
left out.

The metric scale is one number per scene, read by a token that attends to all tokens of all frames. It goes beside the
attention plan: `metric_scale` looks at the frames of the given window and at no memory. Offline that is the reference.
In a stream it would be another number for every window, so it is not applied there: `predict` returns model units
unless a scale is passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.models.interface import Decoded, Prediction
from spark3r_core.models.layers import Linear, Mlp, Norm
from spark3r_core.models.pi3 import Pi3, Pi3Config
from spark3r_core.models.pi3_heads import ConvMapHead
from spark3r_core.models.rope import Rope

MAX_LOG_DEPTH = 15.0


@dataclass(frozen=True)
class Pi3XConfig(Pi3Config):
    """Sizes; the defaults are the released ones."""

    metric_dim: int = 512
    metric_heads: int = 8
    conv_upsample: tuple[int, ...] = (256, 128, 64)


class CrossAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(dim, dim)
        self.v_proj = Linear(dim, dim)
        self.proj = Linear(dim, dim)

    def forward(self, query: Tensor, context: Tensor, rope: Rope) -> Tensor:
        """query (B, 1, C) at position (0, 0), so not rotated; context (B, S, T, C) → (B, 1, C)."""
        q, k, v = (
            linear(x).unflatten(-1, (self.num_heads, -1)).movedim(-2, 1)  # (B, h, ..., d)
            for linear, x in ((self.q_proj, query), (self.k_proj, context), (self.v_proj, context))
        )
        out = F.scaled_dot_product_attention(q, rope.apply(k).flatten(2, 3), v.flatten(2, 3))
        return self.proj(out.transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm2 = Norm(dim, eps=1e-6)
        self.norm_y = Norm(dim, eps=1e-6)
        self.cross_attn = CrossAttention(dim, num_heads)
        self.norm3 = Norm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, context: Tensor, rope: Rope) -> Tensor:
        x = x + self.cross_attn(self.norm2(x), self.norm_y(context), rope)
        return x + self.mlp(self.norm3(x))


class MetricDecoder(nn.Module):
    def __init__(self, config: Pi3XConfig) -> None:
        super().__init__()
        dim = config.metric_dim
        self.projects_x = Linear(2 * config.dec_dim, dim)
        self.projects_y = Linear(2 * config.dec_dim, dim)
        self.blocks = nn.ModuleList(CrossBlock(dim, config.metric_heads) for _ in range(config.head_decoder_depth))
        self.linear_out = Linear(dim, dim)

    def forward(self, query: Tensor, tokens: Tensor, rope: Rope) -> Tensor:
        """query (B, 1, 2C), tokens (B, S, T, 2C) → (B, 1, metric_dim)."""
        x, context = self.projects_x(query), self.projects_y(tokens)
        for block in self.blocks:
            x = block(x, context, rope)
        return self.linear_out(x)


class Pi3X(Pi3):
    """See the module's text and `Pi3`."""

    config: Pi3XConfig
    family = "pi3x"
    dropped_keys = (
        (r"depth_encoder\.|depth_emb$|ray_embed\.|pose_inject_blk\.", "conditioning branches are left out"),
    )

    def __init__(self, config: Pi3XConfig | None = None) -> None:
        config = config or Pi3XConfig()
        super().__init__(config)
        self.metric_token = nn.Parameter(torch.zeros(1, 1, 2 * config.dec_dim))
        self.metric_decoder = MetricDecoder(config)
        self.metric_head = Linear(config.metric_dim, 1)

    def make_point_head(self) -> nn.Module:
        return ConvMapHead(self.config.head_out_dim, self.config.conv_upsample, (2, 1))

    def make_conf_head(self) -> nn.Module:
        return ConvMapHead(self.config.head_out_dim, self.config.conv_upsample, (1,))

    def point_maps(self, patches: Tensor, image_hw: tuple[int, int]) -> Tensor:
        xy, log_z = self.point_head(patches, self._grid(image_hw), image_hw)
        z = log_z.clamp_max(MAX_LOG_DEPTH).exp()
        return torch.cat([xy * z, z], 1).permute(0, 2, 3, 1)

    def confidence_logits(self, patches: Tensor, image_hw: tuple[int, int]) -> Tensor:
        return self.conf_head(patches, self._grid(image_hw), image_hw)[0].permute(0, 2, 3, 1)

    def metric_scale(self, decoded: Decoded) -> Tensor:
        """Metres per model unit (B,), from all frames of `decoded`."""
        tokens = decoded.taps[0]
        rope = self._rope(decoded.image_hw, self.config.metric_dim // self.config.metric_heads)
        query = self.metric_token.expand(len(tokens), -1, -1)
        return self.metric_head(self.metric_decoder(query, tokens, rope))[:, 0, 0].exp()

    def predict(
        self, decoded: Decoded, frames: slice | Sequence[int] | None = None, *, metric: Tensor | None = None
    ) -> Prediction:
        """As `Pi3.predict`; `metric` (B,), from `metric_scale`, turns all lengths into metres.

        `raw` has also rays (B, S, H, W, 3), the unit directions of the local points, and metric when it was given.
        """
        prediction = super().predict(decoded, frames)
        raw = dict(prediction.raw)
        raw["rays"] = F.normalize(raw["local_points"], dim=-1)
        if metric is None:
            return Prediction(
                prediction.world_from_camera, prediction.intrinsics, prediction.depth, prediction.confidence, raw
            )
        scale = metric[:, None, None, None, None]
        pose = prediction.world_from_camera.clone()
        pose[..., :3, 3] *= metric[:, None, None]
        raw |= {"local_points": raw["local_points"] * scale, "points": raw["points"] * scale}
        raw |= {"camera_poses": pose, "metric": metric}
        return Prediction(pose, prediction.intrinsics, raw["local_points"][..., 2], prediction.confidence, raw)
