"""VGGT-Omega (facebookresearch/vggt-omega), without its text head.

As VGGT, a frame is [camera token | registers | patches] with tokens of their own for the reference frame, and rounds
of one block per frame and one across frames. What differs: a DINOv3 encoder, another RoPE that the cross-frame blocks
do without, 16 registers, a few cross-frame blocks that only camera and register tokens pass, a masked qkv bias, a
camera head of one pass over all special tokens, and one dense head.

Shapes: B batch, S frames, T = special + P tokens, C width, H x W image, D = 2C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.dinov2 import PatchEmbed, checked_image_hw, patch_grid
from spark3r_core.models.dpt import DptHead
from spark3r_core.models.facts import Capabilities
from spark3r_core.models.interface import Backbone, CrossLayer, Decoded, Encoded, Prediction
from spark3r_core.models.layers import Block, ImageNetNormalise, Linear, Norm, by_frames
from spark3r_core.models.pose_encoding import decode_pose, invert_rigid
from spark3r_core.models.rope import Rope, omega_rope
from spark3r_core.models.vggt import add_special_tokens

HEAD_FRAMES = 8  # frames that go through the dense head at a time; bounds memory, changes nothing
FOV_OFFSET = 0.01  # radians added to the activated fields of view
EPS = 1e-5  # of every LayerNorm


@dataclass(frozen=True)
class VGGTOmegaConfig:
    """Sizes; the defaults are VGGT-Omega-1B. register_attention_block_indices: rounds whose cross-frame block sees
    camera and register tokens only."""

    patch_size: int = 16
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    num_register_tokens: int = 16
    register_attention_block_indices: tuple[int, ...] = (2, 6, 9, 14, 20)
    encoder_depth: int = 24
    encoder_heads: int = 16
    encoder_storage_tokens: int = 4
    camera_heads: int = 16
    camera_trunk_depth: int = 4
    dense_features: int = 256
    dense_out_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    dense_taps: tuple[int, ...] = (4, 11, 17, 23)


class RopePeriods(nn.Module):
    """The periods of one RoPE, which are part of the checkpoint."""

    periods: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        quarter = head_dim // 4
        self.register_buffer("periods", 100.0 ** (torch.arange(quarter, device="cpu") / quarter))

    def forward(self, grid_hw: tuple[int, int], special_tokens: int) -> Rope:
        """Tables of one frame. Built per call, not kept: they depend on weights and cost as much as one LayerNorm."""
        return omega_rope(*grid_hw, special_tokens, self.periods)


class DinoV3(nn.Module):
    """The encoder (Siméoni et al. 2025): RoPE in every block, no learned positions; only patch tokens leave it."""

    def __init__(self, config: VGGTOmegaConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.patch_size = config.patch_size
        self.patch_embed = PatchEmbed(config.patch_size, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.storage_tokens = nn.Parameter(torch.zeros(1, config.encoder_storage_tokens, dim))
        self.rope_embed = RopePeriods(dim // config.encoder_heads)
        self.blocks = nn.ModuleList(
            Block(dim, config.encoder_heads, eps=EPS, masked_bias=True) for _ in range(config.encoder_depth)
        )
        self.norm = Norm(dim, eps=EPS)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, S, 3, H, W) → patch tokens (B, S, P, C)."""
        patches = self.patch_embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        prefix = torch.cat([self.cls_token, self.storage_tokens], 1)
        x = torch.cat([prefix.expand(*images.shape[:2], -1, -1), patches.to(prefix.dtype)], 2)
        rope = self.rope_embed(patch_grid((images.shape[-2], images.shape[-1]), self.patch_size), prefix.shape[1])
        for block in self.blocks:
            x = block(x, rope)
        return self.norm(x[:, :, prefix.shape[1] :])


class Aggregator(nn.Module):
    """The parts of the trunk under their released names; `VGGTOmega` runs them."""

    def __init__(self, config: VGGTOmegaConfig) -> None:
        super().__init__()
        dim, heads = config.embed_dim, config.num_heads
        self.patch_embed = DinoV3(config)
        self.rope_embed = RopePeriods(dim // heads)
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_register_tokens, dim))
        self.frame_blocks = nn.ModuleList(
            Block(dim, heads, eps=EPS, qk_norm=True, masked_bias=True) for _ in range(config.depth)
        )
        self.inter_frame_blocks = nn.ModuleList(
            Block(dim, heads, eps=EPS, qk_norm=True, masked_bias=True) for _ in range(config.depth)
        )


class CameraHead(nn.Module):
    """Special tokens of all frames through a small trunk; the first of each frame becomes its camera."""

    def __init__(self, dim: int, trunk_depth: int, num_heads: int) -> None:
        super().__init__()
        self.token_norm = Norm(dim, eps=EPS)
        self.trunk = nn.Sequential(*(Block(dim, num_heads, eps=EPS, masked_bias=True) for _ in range(trunk_depth)))
        self.trunk_norm = Norm(dim, eps=EPS)
        self.camera_branch = nn.Sequential(Linear(dim, dim // 2), nn.GELU(), Linear(dim // 2, 9))

    def forward(self, tokens: Tensor, plan: AttentionPlan, first_layer: int) -> Tensor:
        """Special tokens (B, S, n, D) → encodings (B, S, 9): translation, quaternion xyzw, fov vertical, horizontal."""
        x = self.token_norm(tokens)
        for layer, block in enumerate(self.trunk, start=first_layer):
            x = block(x, plan=plan, layer=layer)
        encoding = self.camera_branch(self.trunk_norm(x[:, :, 0]))
        return torch.cat([encoding[..., :7], F.relu(encoding[..., 7:]) + FOV_OFFSET], -1)


class DenseHead(DptHead):
    """DPT at 4x the patch grid; a pixel shuffle by 4 reaches the image's size."""

    def __init__(self, config: VGGTOmegaConfig) -> None:
        super().__init__(2 * config.embed_dim, config.dense_features, config.dense_out_channels, relu_skip=False)
        self.upscale = config.patch_size // 4
        self.proj = nn.Conv2d(config.dense_features, self.upscale**2, 1)
        self.proj_conf = nn.Conv2d(config.dense_features, self.upscale**2, 1)

    def forward(self, taps: Sequence[Tensor], grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> Tensor:
        """Four maps of tokens (N, P, D) → log depth and raw confidence (N, H, W, 2)."""
        fused = self.fuse(self.pyramid(taps, grid_hw, image_hw), (4 * grid_hw[0], 4 * grid_hw[1]))
        fused = self.embed_uv(fused, image_hw)
        maps = [F.pixel_shuffle(proj(fused), self.upscale)[:, 0] for proj in (self.proj, self.proj_conf)]
        return torch.stack(maps, -1)


class VGGTOmega(Backbone):
    """See the module's text. `Decoded.pose` (B, S, 9) describes camera_from_world."""

    family = "vggt_omega"
    trunk_prefixes = ("aggregator.",)
    dropped_keys = (
        (r"text_alignment_head\.", "the text head is left out"),
        (r"aggregator\.patch_embed\.mask_token$", "used in the encoder's training only"),
    )
    dropped_outputs = ("text_alignment_embedding", "text_alignment_token")
    # as many patches as a square of 512 pixels has, whatever the picture's shape (the reference's "balanced" rule)
    capabilities = Capabilities(has_reference_frame=True, has_gauge=True, native_long_side=592, native_patches=1024)

    def __init__(self, config: VGGTOmegaConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VGGTOmegaConfig()
        self.patch_size = config.patch_size
        self.special_tokens = 1 + config.num_register_tokens
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(2 * config.embed_dim, config.camera_trunk_depth, config.camera_heads)
        self.dense_head = DenseHead(config)
        self.normalise = ImageNetNormalise()

    def cross_layers(self, image_hw: tuple[int, int]) -> list[CrossLayer]:
        """The inter-frame blocks, global or register-only, in the order of the rounds; then the camera head's trunk."""
        config, special = self.config, self.special_tokens
        height, width = patch_grid(image_hw, self.patch_size)
        head_dim = config.embed_dim // config.num_heads
        layers = []
        for i in range(config.depth):
            kind, tokens = "global", special + height * width
            if i in config.register_attention_block_indices:
                kind, tokens = "register", special
            layers.append(CrossLayer(f"inter_frame_blocks.{i}", kind, tokens, special, config.num_heads, head_dim))
        head_dim = 2 * config.embed_dim // config.camera_heads
        for j in range(config.camera_trunk_depth):
            name = f"camera_head.trunk.{j}"
            layers.append(CrossLayer(name, "camera", special, special, config.camera_heads, head_dim))
        return layers

    def encode(self, images: Tensor) -> Encoded:
        image_hw = checked_image_hw(images, self.patch_size)
        return Encoded(by_frames(self.aggregator.patch_embed, self.normalise(images), self.frames_per_chunk), image_hw)

    def decode(self, encoded: Encoded, plan: AttentionPlan, reference: int | None = 0) -> Decoded:
        """extras: camera_and_register_tokens (B, S, special, D) of the last round."""
        plan.begin(encoded.tokens.shape[1], self.cross_layers(encoded.image_hw))
        trunk, special, chunk = self.aggregator, self.special_tokens, self.frames_per_chunk
        rope = trunk.rope_embed(patch_grid(encoded.image_hw, self.patch_size), special)
        x = add_special_tokens(encoded.tokens, (trunk.camera_token, trunk.register_token), reference)
        taps: dict[int, Tensor] = {}
        local = x
        for i, (frame_block, cross_block) in enumerate(zip(trunk.frame_blocks, trunk.inter_frame_blocks, strict=True)):
            local = frame_block(x, rope, frames_per_chunk=chunk)
            if i in self.config.register_attention_block_indices:
                seen = cross_block(local[:, :, :special], plan=plan, layer=i, frames_per_chunk=chunk)
                x = torch.cat([seen, local[:, :, special:]], 2)
            else:
                x = cross_block(local, plan=plan, layer=i, frames_per_chunk=chunk)
            if i in self.config.dense_taps:
                taps[i] = torch.cat([local[:, :, special:], x[:, :, special:]], -1)
        tokens = torch.cat([local[:, :, :special], x[:, :, :special]], -1)
        pose = self.camera_head(tokens, plan, len(trunk.inter_frame_blocks))
        kept = tuple(taps[i] for i in self.config.dense_taps)
        return Decoded(kept, pose, encoded.image_hw, {"camera_and_register_tokens": tokens})

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None) -> Prediction:
        """`raw`: pose_enc, extrinsics, intrinsics, depth (B, S, H, W, 1), depth_conf, camera_and_register_tokens."""
        index = slice(None) if frames is None else frames if isinstance(frames, slice) else list(frames)
        encoding, image_hw = decoded.pose[:, index], decoded.image_hw
        camera_from_world, intrinsics = decode_pose(encoding, image_hw)
        taps = [tap[:, index].flatten(0, 1).split(HEAD_FRAMES) for tap in decoded.taps]
        grid = patch_grid(image_hw, self.patch_size)
        maps = torch.cat([self.dense_head(part, grid, image_hw) for part in zip(*taps, strict=True)])
        maps = maps.unflatten(0, encoding.shape[:2])
        raw = {"pose_enc": encoding, "extrinsics": camera_from_world[..., :3, :], "intrinsics": intrinsics}
        raw |= {"depth": maps[..., :1].exp(), "depth_conf": 1 + maps[..., 1].exp()}
        raw |= {name: extra[:, index] for name, extra in decoded.extras.items()}
        return Prediction(
            invert_rigid(camera_from_world), intrinsics, raw["depth"][..., 0], maps[..., 1].sigmoid(), raw
        )

    def poses(self, decoded: Decoded) -> Tensor:
        return invert_rigid(decode_pose(decoded.pose, decoded.image_hw)[0])

    def after_random_init(self) -> None:
        """Near the identity rotation and 57 degrees of view, so that random cameras are finite."""
        last = self.camera_head.camera_branch[2]
        with torch.no_grad():
            last.weight.mul_(0.1)  # type: ignore[operator,union-attr]
            last.bias[6:].fill_(1.0)  # type: ignore[index,union-attr]
