"""Depth-Anything-3's dense head: depth and confidence, and on request a ray per pixel (the reference's DualDPT)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from spark3r_core.models.dpt import DptHead, exp_and_confidence, resize


class _ChannelNorm(nn.Module):
    """Moves channels last for the LayerNorm that follows, or back; it takes an index in the released key names."""

    def __init__(self, to_last: bool) -> None:
        super().__init__()
        self.order = (0, 2, 3, 1) if to_last else (0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.order)


class DualDptHead(DptHead):
    """DPT with a second fusion chain for rays on the same pyramid.

    The reference registers four levels of ray convolutions and one LayerNorm object for all of them, and uses the last
    level. The unused ones are kept as parameters, since released files hold them, and never run.
    """

    def __init__(
        self, dim_in: int, features: int, out_channels: Sequence[int], patch_size: int, with_rays: bool
    ) -> None:
        super().__init__(dim_in, features, out_channels, relu_skip=False, uv_double=False)
        self.patch_size = patch_size
        half = features // 2
        self.scratch.output_conv1 = nn.Conv2d(features, half, 3, padding=1)
        self.scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(32, 2, 1)
        )
        if with_rays:
            self.add_refinement("_aux")
            shared_norm = nn.LayerNorm(32, eps=1e-5)
            self.scratch.output_conv1_aux = nn.ModuleList(_ray_convolutions(features) for _ in range(4))
            self.scratch.output_conv2_aux = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(half, 32, 3, padding=1),
                    _ChannelNorm(to_last=True),
                    shared_norm,
                    _ChannelNorm(to_last=False),
                    nn.ReLU(),
                    nn.Conv2d(32, 7, 1),
                )
                for _ in range(4)
            )

    def forward(
        self, taps: Sequence[Tensor], grid_hw: tuple[int, int], image_hw: tuple[int, int], rays: bool
    ) -> dict[str, Tensor]:
        """taps: four (N, P, dim_in) → depth, depth_conf (1 + exp) and confidence (its sigmoid), each (N, H, W).

        With rays also ray (N, 8h, 8w, 6): direction and origin, and ray_conf (N, 8h, 8w).
        """
        scratch = self.scratch
        levels = self.pyramid(taps, grid_hw, image_hw)
        top = (8 * grid_hw[0], 8 * grid_hw[1])
        x = scratch.output_conv1(self.fuse(levels, top))
        x = resize(x, (self.patch_size * grid_hw[0], self.patch_size * grid_hw[1]))
        raw = scratch.output_conv2(self.embed_uv(x, image_hw))
        depth, depth_conf = exp_and_confidence(raw)
        result = {"depth": depth, "depth_conf": depth_conf, "confidence": raw[:, 1].sigmoid()}
        if rays:
            x = scratch.output_conv1_aux[3](self.fuse(levels, top, "_aux"))
            raw = scratch.output_conv2_aux[3](self.embed_uv(x, image_hw)).permute(0, 2, 3, 1)
            result |= {"ray": raw[..., :6], "ray_conf": 1 + raw[..., 6].exp()}
        return result


def _ray_convolutions(features: int) -> nn.Sequential:
    widths = (features, features // 2, features, features // 2, features, features // 2)
    return nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)))
