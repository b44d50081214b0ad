"""The DINOv2 encoder (Oquab et al. 2023, with registers: Darcet et al. 2024) that VGGT and pi3 put in front.

Shapes: N frames, P = h*w patches, C width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.errors import ImageError
from spark3r_core.models.layers import Block, Conv2d, Norm


def patch_grid(image_hw: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches of an image (H, W); raises ImageError where it is not made of whole patches."""
    height, width = image_hw
    if height < 1 or width < 1 or height % patch_size or width % patch_size:
        raise ImageError(f"image sides must be multiples of {patch_size} pixels, got {width}x{height}; resize it first")
    return height // patch_size, width // patch_size


def checked_image_hw(images: Tensor, patch_size: int) -> tuple[int, int]:
    """(H, W) of a model's input (B, S, 3, H, W); raises ImageError for any other shape."""
    if images.dim() != 5 or images.shape[2] != 3:
        raise ImageError(f"expected images of shape (B, S, 3, H, W), got {tuple(images.shape)}")
    image_hw = (images.shape[-2], images.shape[-1])
    patch_grid(image_hw, patch_size)
    return image_hw


class PatchEmbed(nn.Module):
    """One convolution whose stride is its size: (N, 3, H, W) → (N, P, C), patches row by row."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class DinoV2(nn.Module):
    """ViT with a class token and registers; only the patch tokens leave it.

    Args:
        img_size: image side the learned positions were made for; other sizes interpolate them.
    """

    def __init__(
        self, *, img_size: int, patch_size: int, dim: int, depth: int, num_heads: int, num_registers: int = 4
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.native_side = img_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, num_registers, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.native_side**2, dim))
        self.blocks = nn.ModuleList(Block(dim, num_heads, eps=1e-6) for _ in range(depth))
        self.norm = Norm(dim, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, S, 3, H, W) → patch tokens (B, S, P, C)."""
        grid_hw = patch_grid((images.shape[-2], images.shape[-1]), self.patch_size)
        patches = self.patch_embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        patches = patches + self.patch_positions(grid_hw)
        shape = (*images.shape[:2], -1, -1)
        cls = (self.cls_token + self.pos_embed[:, :1])[None].expand(shape)  # registers have no position
        x = torch.cat([cls, self.register_tokens[None].expand(shape), patches], 2)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, :, 1 + self.register_tokens.shape[1] :])

    def patch_positions(self, grid_hw: tuple[int, int]) -> Tensor:
        """Learned positions for a grid, (1, P, C): bicubic with antialiasing, by output size (not by scale as DA3)."""
        learned = self.pos_embed[:, 1:]
        if grid_hw == (self.native_side, self.native_side):
            return learned
        maps = learned.float().transpose(1, 2).unflatten(2, (self.native_side, self.native_side))
        maps = F.interpolate(maps, size=grid_hw, mode="bicubic", align_corners=False, antialias=True)
        return maps.flatten(2).transpose(1, 2).to(learned.dtype)
