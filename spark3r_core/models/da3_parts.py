"""Depth-Anything-3's sizes and the modules that hold its parameters; `da3.py` says how they are run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.models.da3_head import DualDptHead
from spark3r_core.models.layers import Block, Conv2d, Mlp, Norm


@dataclass(frozen=True)
class DA3Config:
    """Sizes of a DA3. The defaults are those all released models share.

    ffn: "mlp" (GELU) or "gated" (SwiGLU, giant). stem: "linear" (one patch convolution, released models) or "conv"
    (a small convolutional stem, bundled network). with_rays, with_cam_enc: hold the ray branch, the pose encoder.
    """

    embed_dim: int
    depth: int
    num_heads: int
    alt_start: int
    out_layers: tuple[int, int, int, int]
    head_features: int
    head_out_channels: tuple[int, int, int, int]
    img_size: int = 518
    patch_size: int = 14
    ffn: str = "mlp"
    stem: str = "linear"
    with_rays: bool = True
    with_cam_enc: bool = True
    cam_enc_heads: int = 16
    cam_enc_depth: int = 4
    native_long_side: int = 504
    native_patches: int | None = None
    stream_pages: int = 40
    reanchor_every: int = 0
    refines: bool = False

    def __post_init__(self) -> None:
        # JSON has lists where a frozen, hashable config wants tuples
        object.__setattr__(self, "out_layers", tuple(self.out_layers))
        object.__setattr__(self, "head_out_channels", tuple(self.head_out_channels))
        if self.ffn not in ("mlp", "gated") or self.stem not in ("linear", "conv"):
            raise ValueError(f'ffn is "mlp" or "gated", stem is "linear" or "conv"; got {self.ffn!r}, {self.stem!r}')
        if not (1 <= self.alt_start <= min(self.out_layers) and max(self.out_layers) < self.depth):
            raise ValueError(
                f"taps {self.out_layers} must lie in [alt_start={self.alt_start}, depth={self.depth}), alt_start >= 1"
            )


_BASE = DA3Config(768, 12, 12, 4, (5, 7, 9, 11), 128, (96, 192, 384, 768))
DA3_CONFIGS: dict[str, DA3Config] = {
    "da3-small": replace(_BASE, embed_dim=384, num_heads=6, head_features=64, head_out_channels=(48, 96, 192, 384)),
    "da3-base": _BASE,
    "da3-large": DA3Config(1024, 24, 16, 8, (11, 15, 19, 23), 256, (256, 512, 1024, 1024)),
    "da3-giant": DA3Config(1536, 40, 24, 13, (19, 27, 33, 39), 256, (256, 512, 1024, 1024), ffn="gated"),
}


class PatchEmbed(nn.Module):
    """(N, 3, H, W) → (N, P, C), row by row.

    The convolutional stem looks at 23 pixels and more around each patch: one strided convolution, two at that
    resolution, and one that gathers the patch. Matching rests on it: with two strided convolutions alone a patch's
    place was known half as well after the same number of steps (docs/bundled_model.md).
    """

    def __init__(self, dim: int, patch_size: int, stem: str) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Identity()
        if stem == "linear":
            self.proj = Conv2d(3, dim, patch_size, stride=patch_size)
            return
        first, *between, last = _stem_strides(patch_size)
        narrow, wide = max(3 * dim // 10, 16), max(2 * dim // 5, 16)
        layers = [_strided(3, narrow, first), nn.GELU()]
        for channels, stride in ((narrow, 0), (wide, 0), *((wide, stride) for stride in between)):
            convolution = _strided(channels, wide, stride) if stride else Conv2d(channels, wide, 3, padding=1)
            layers += [convolution, nn.GELU()]
        self.stem = nn.Sequential(*layers)
        self.proj = _strided(wide, dim, last)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.stem(images)).flatten(2).transpose(1, 2)


def _strided(channels: int, out: int, stride: int) -> Conv2d:
    """Kernels overlap by `stride` - 1 pixels and keep size / stride exact."""
    return Conv2d(channels, out, 2 * stride - 1, stride=stride, padding=stride - 1)


def _stem_strides(patch_size: int) -> list[int]:
    """At least two factors of the patch size, large ones first; a 1 where there are fewer."""
    strides, rest = [], patch_size
    for factor in (4, 2, 7, 3, 5):
        while rest % factor == 0:
            strides.append(factor)
            rest //= factor
    if rest != 1:
        raise ValueError(f"a convolutional stem needs a patch size with factors 2, 3, 5, 7; got {patch_size}")
    return strides + [1] * (2 - len(strides))


class VitStack(nn.Module):
    """`backbone.pretrained`: parameters of the one ViT; `DA3` says how they are run."""

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        dim, grid = config.embed_dim, config.img_size // config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.camera_token = nn.Parameter(torch.zeros(1, 2, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, dim))
        self.patch_embed = PatchEmbed(dim, config.patch_size, config.stem)
        self.blocks = nn.ModuleList(
            Block(dim, config.num_heads, eps=1e-6, qk_norm=i >= config.alt_start, gated=config.ffn == "gated")
            for i in range(config.depth)
        )
        self.norm = Norm(dim, eps=1e-5)

    def position_embedding(self, grid_hw: tuple[int, int]) -> Tensor:
        """(1, 1 + P, C) for a patch grid.

        The reference asks for a scale of (n + 0.1) / M instead of a size, and PyTorch then maps coordinates with that
        factor; asking for the size gives values that differ in the first digit.
        """
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if grid_hw == (side, side):
            return self.pos_embed
        cls, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        patches = patches.transpose(1, 2).unflatten(-1, (side, side))
        scale = ((grid_hw[0] + 0.1) / side, (grid_hw[1] + 0.1) / side)
        patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", antialias=False)
        return torch.cat((cls, patches.flatten(2).transpose(1, 2)), dim=1)


class CameraDecoder(nn.Module):
    """Camera token (..., 2C) → (..., 9): translation, quaternion xyzw, vertical and horizontal field of view."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())
        self.fc_t = nn.Linear(dim, 3)
        self.fc_qvec = nn.Linear(dim, 4)
        self.fc_fov = nn.Sequential(nn.Linear(dim, 2), nn.ReLU())

    def forward(self, token: Tensor) -> Tensor:
        x = self.backbone(token.to(self.fc_t.weight.dtype))
        return torch.cat((self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)), dim=-1)


class CameraEncoder(nn.Module):
    """Given poses (B, S, 9) → camera tokens (B, S, C), by a small transformer across the views."""

    def __init__(self, dim: int, num_heads: int, depth: int) -> None:
        super().__init__()
        self.pose_branch = Mlp(9, dim // 2, dim)
        self.token_norm = Norm(dim, eps=1e-5)
        self.trunk = nn.Sequential(*(Block(dim, num_heads, eps=1e-5) for _ in range(depth)))
        self.trunk_norm = Norm(dim, eps=1e-5)

    def forward(self, pose: Tensor) -> Tensor:
        x = self.token_norm(self.pose_branch(pose))
        return self.trunk_norm(self.trunk(x[:, None]))[:, 0]  # the views are the tokens of one "frame"


class VitHolder(nn.Module):
    """`backbone`: released names put the ViT at `backbone.pretrained`."""

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        self.pretrained = VitStack(config)


class DA3Net(nn.Module):
    """`model`: all parts under their released names."""

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        width = 2 * config.embed_dim  # taps are a local and a cross-frame half
        self.backbone = VitHolder(config)
        self.head = DualDptHead(
            width, config.head_features, config.head_out_channels, config.patch_size, config.with_rays
        )
        self.cam_dec = CameraDecoder(width)
        if config.with_cam_enc:
            self.cam_enc = CameraEncoder(config.embed_dim, config.cam_enc_heads, config.cam_enc_depth)
