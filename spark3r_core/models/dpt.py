"""The DPT fusion head that VGGT, DA3 and VGGT-Omega share (Ranftl et al., "Vision Transformers for Dense Prediction").

Four token maps are projected to a pyramid of 4x, 2x, 1x and 1/2x the patch grid and fused from coarse to fine.
Families subclass `DptHead` and add their own last convolutions under `scratch`; key names are the released ones.
Heads run in float32 whatever the trunk runs in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.models.layers import Norm
from spark3r_core.models.rope import TableCache

MAX_KEPT_TABLE = 1 << 20  # elements; larger position embeddings are made anew rather than held beside the weights


def uv_vectors(
    height: int, width: int, image_hw: tuple[int, int], device: torch.device | None = None, *, double: bool = False
) -> tuple[Tensor, Tensor]:
    """u (width,) and v (height,): centres of the cells on a plane whose half-diagonal is 1."""
    dtype = torch.float64 if double else torch.float32
    aspect = image_hw[1] / image_hw[0]
    span_u, span_v = aspect / math.hypot(aspect, 1.0), 1.0 / math.hypot(aspect, 1.0)
    end_u, end_v = span_u * (width - 1) / width, span_v * (height - 1) / height
    u = torch.linspace(-end_u, end_u, width, device=device, dtype=dtype)
    v = torch.linspace(-end_v, end_v, height, device=device, dtype=dtype)
    return u, v


def uv_embedding(
    channels: int, height: int, width: int, image_hw: tuple[int, int], device: torch.device | None, *, double: bool
) -> Tensor:
    """(channels, height, width) float32: [sin u | cos u | sin v | cos v] at frequencies 100^(-4k/channels), times 0.1.

    double: form the angles in float64 as VGGT and Omega do; DA3 stays in float32.
    """
    u, v = uv_vectors(height, width, image_hw, device, double=double)
    quarter = channels // 4
    omega = 1.0 / 100.0 ** (torch.arange(quarter, device=device, dtype=u.dtype) / quarter)
    u, v = omega[:, None] * u, omega[:, None] * v  # (quarter, W), (quarter, H)
    along_u = torch.cat((u.sin(), u.cos())).float()[:, None, :].expand(-1, height, -1)
    along_v = torch.cat((v.sin(), v.cos())).float()[:, :, None].expand(-1, -1, width)
    return 0.1 * torch.cat((along_u, along_v))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners, the only resize of these heads; a map that already fits is returned as it is."""
    if x.shape[-2:] == torch.Size(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    """conv2(relu(conv1(relu(x)))) + skip.

    relu_skip: VGGT's reference uses an in-place ReLU, so what it adds back is relu(x), and its weights expect that.
    """

    def __init__(self, features: int, relu_skip: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.relu_skip = relu_skip

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        # in place where nobody else reads: on a CPU, fresh memory for maps this large costs as much as the arithmetic
        refined = self.conv2(F.relu_(self.conv1(active)))
        return refined.add_(active if self.relu_skip else x)


class FusionBlock(nn.Module):
    """Add one pyramid level to what came from below, refine, bring to `size`. The lowest level has nothing below it."""

    def __init__(self, features: int, *, lowest: bool, relu_skip: bool) -> None:
        super().__init__()
        if not lowest:
            self.resConfUnit1 = ResidualConvUnit(features, relu_skip)
        self.resConfUnit2 = ResidualConvUnit(features, relu_skip)
        self.out_conv = nn.Conv2d(features, features, 1)
        self.lowest = lowest

    def forward(self, below: Tensor, level: Tensor | None, size: tuple[int, int]) -> Tensor:
        if not self.lowest and level is not None:
            below = below + self.resConfUnit1(level)
        # The references resize first. A 1x1 convolution commutes with bilinear weights (they sum to 1), and done
        # before the upsampling it costs a quarter; the outputs agree to rounding.
        return resize(self.out_conv(self.resConfUnit2(below)), size)


class DptHead(nn.Module):
    """Pyramid and fusion; subclasses add the output convolutions.

    Args:
        dim_in: width of the token maps (2C).
        features: channels of the fused maps.
        out_channels: channels of the four projected maps.
        relu_skip: see `ResidualConvUnit`; True for VGGT only.
        uv: add the position embedding to the projected maps (VGGT's track head has none).
        uv_double: form it in float64 (VGGT, Omega) instead of float32 (DA3).
    """

    def __init__(
        self,
        dim_in: int,
        features: int,
        out_channels: Sequence[int],
        *,
        relu_skip: bool,
        uv: bool = True,
        uv_double: bool = True,
    ) -> None:
        super().__init__()
        self.uv, self.uv_double = uv, uv_double
        self.features, self.relu_skip = features, relu_skip
        self._uv_tables: TableCache[Tensor] = TableCache()
        self.norm = Norm(dim_in, eps=1e-5)
        self.projects = nn.ModuleList(nn.Conv2d(dim_in, c, 1) for c in out_channels)
        c0, c1, _, c3 = out_channels
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(c0, c0, 4, stride=4),
                nn.ConvTranspose2d(c1, c1, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(c3, c3, 3, stride=2, padding=1),
            )
        )
        self.scratch: Any = nn.Module()  # holds its members under their released names
        for i, channels in enumerate(out_channels, start=1):
            self.scratch.add_module(f"layer{i}_rn", nn.Conv2d(channels, features, 3, padding=1, bias=False))
        self.add_refinement("")

    def add_refinement(self, suffix: str) -> None:
        """Register `refinenet1..4<suffix>` under `scratch` (DA3 has a second chain for its rays)."""
        for i in range(1, 5):
            block = FusionBlock(self.features, lowest=i == 4, relu_skip=self.relu_skip)
            self.scratch.add_module(f"refinenet{i}{suffix}", block)

    def pyramid(self, taps: Sequence[Tensor], grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> list[Tensor]:
        """Four maps (N, features, h_i, w_i), finest first, from four token maps (N, P, dim_in) of patches only."""
        levels = []
        for i, tap in enumerate(taps):
            tokens = self.norm(tap)
            x = self.projects[i](tokens.transpose(1, 2).unflatten(-1, grid_hw))
            if self.uv:
                x = self.embed_uv(x, image_hw)
            levels.append(getattr(self.scratch, f"layer{i + 1}_rn")(self.resize_layers[i](x)))
        return levels

    def fuse(self, levels: Sequence[Tensor], top_size: tuple[int, int], suffix: str = "") -> Tensor:
        """One map (N, features, *top_size) from the pyramid; `top_size` is that of the finest fusion block's output."""
        sizes = [top_size] + [(level.shape[-2], level.shape[-1]) for level in levels[:3]]
        x = getattr(self.scratch, f"refinenet4{suffix}")(levels[3], None, sizes[3])
        for i in (3, 2, 1):
            x = getattr(self.scratch, f"refinenet{i}{suffix}")(x, levels[i - 1], sizes[i - 1])
        return x

    def embed_uv(self, x: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """x (N, c, h, w) plus the UV position embedding, written into x: callers pass what nobody else reads."""
        channels, height, width = x.shape[1:]

        def table() -> Tensor:
            made = uv_embedding(channels, height, width, image_hw, x.device, double=self.uv_double).to(x.dtype)
            # as the maps lie in memory: tokens come channels last and convolutions keep that
            return made[None].contiguous(memory_format=torch.channels_last)

        if channels * height * width > MAX_KEPT_TABLE:
            return x.add_(table())
        return x.add_(self._uv_tables.get((channels, height, width, image_hw, x.device, x.dtype), table))


def exp_and_confidence(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Depth exp(c0) and confidence 1 + exp(c1) from a map (N, 2, H, W) → (N, H, W) each."""
    return raw[:, 0].exp(), 1 + raw[:, 1].exp()
