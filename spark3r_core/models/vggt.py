"""VGGT (Wang et al. 2025, "VGGT: Visual Geometry Grounded Transformer"), without its point tracker.

Every frame is [camera token | register tokens | patches]. Rounds of one block per frame and one over all frames, then
a camera head that refines the poses in four passes over all camera tokens, and DPT heads for depth and points.
Frame identity exists only in the special tokens: slot 0 for the reference frame, slot 1 for every other, so a stream
keeps frame 0 as reference and its cached keys never need to be touched.

Shapes: B batch, S frames, T = special + P tokens, C width, H x W image, D = 2C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.dinov2 import DinoV2, checked_image_hw, patch_grid
from spark3r_core.models.dpt import DptHead, resize
from spark3r_core.models.facts import Capabilities
from spark3r_core.models.interface import Backbone, CrossLayer, Decoded, Encoded, Prediction
from spark3r_core.models.layers import Block, ImageNetNormalise, Linear, Mlp, Norm, by_frames
from spark3r_core.models.pose_encoding import decode_pose, invert_rigid
from spark3r_core.models.rope import Rope, TableCache, axial_rope, grid_positions

HEAD_FRAMES = 8  # frames that go through a dense head at a time; bounds memory, changes nothing
MIN_TAN = 1e-6  # keeps the reported focal length finite where the field of view is predicted as 0


@dataclass(frozen=True)
class VGGTConfig:
    """Sizes; the defaults are VGGT-1B. Names are those of the reference's constructors."""

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    encoder_depth: int = 24
    encoder_heads: int = 16
    num_register_tokens: int = 4
    camera_trunk_depth: int = 4
    camera_heads: int = 16
    camera_iterations: int = 4
    dpt_features: int = 256
    dpt_out_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    dpt_taps: tuple[int, ...] = (4, 11, 17, 23)


class Aggregator(nn.Module):
    """The parts of the trunk under their released names; `VGGT` runs them."""

    def __init__(self, config: VGGTConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.patch_embed = DinoV2(
            img_size=config.img_size,
            patch_size=config.patch_size,
            dim=dim,
            depth=config.encoder_depth,
            num_heads=config.encoder_heads,
        )
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_register_tokens, dim))
        self.frame_blocks = nn.ModuleList(
            Block(dim, config.num_heads, eps=1e-5, qk_norm=True) for _ in range(config.depth)
        )
        self.global_blocks = nn.ModuleList(
            Block(dim, config.num_heads, eps=1e-5, qk_norm=True) for _ in range(config.depth)
        )


def add_special_tokens(patches: Tensor, slots: Sequence[Tensor], reference: int | None) -> Tensor:
    """Put the special tokens in front of each frame's patches: (B, S, P, C) → (B, S, n + P, C).

    slots: parameters (1, 2, n_i, C); index 0 goes to frame `reference`, index 1 to every other one.
    """
    batch, frames = patches.shape[:2]
    if reference is not None and not 0 <= reference < frames:
        raise ValueError(f"reference frame {reference} is not among the {frames} frames of this window")
    special = torch.cat(list(slots), 2)  # (1, 2, n, C)
    chosen = torch.stack([special[0, 0 if frame == reference else 1] for frame in range(frames)])
    return torch.cat([chosen.expand(batch, -1, -1, -1), patches.to(special.dtype)], 2)


class CameraHead(nn.Module):
    """Refines all poses together; each pass modulates the camera tokens with the previous pose (adaLN, DiT style)."""

    def __init__(self, dim: int, trunk_depth: int, num_heads: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.trunk = nn.Sequential(*(Block(dim, num_heads, eps=1e-5) for _ in range(trunk_depth)))
        self.token_norm = Norm(dim, eps=1e-5)
        self.trunk_norm = Norm(dim, eps=1e-5)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, 9))
        self.embed_pose = Linear(9, dim)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), Linear(dim, 3 * dim))
        self.adaln_norm = Norm(dim, eps=1e-6, elementwise_affine=False)
        self.pose_branch = Mlp(dim, dim // 2, 9)

    def forward(self, tokens: Tensor, plan: AttentionPlan, first_layer: int) -> Tensor:
        """Camera tokens (B, S, D) → activated encodings of every pass, (iterations, B, S, 9).

        The raw encoding is what is fed back; only what is reported goes through the activations.
        """
        features = self.token_norm(tokens)
        encoding = self.empty_pose_tokens.expand(*tokens.shape[:2], -1)
        passes = []
        layer = first_layer
        for iteration in range(self.iterations):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(encoding)).chunk(3, -1)
            x = gate * (self.adaln_norm(features) * (1 + scale) + shift) + features
            x = x[:, :, None]  # one token per frame
            for block in self.trunk:
                x = block(x, plan=plan, layer=layer)
                layer += 1
            delta = self.pose_branch(self.trunk_norm(x[:, :, 0]))
            encoding = delta if iteration == 0 else encoding + delta
            passes.append(torch.cat([encoding[..., :7], F.relu(encoding[..., 7:])], -1))
        return torch.stack(passes)


class DenseHead(DptHead):
    """DPT at image size: (exp or signed exp, 1 + exp) of the last convolution's channels."""

    def __init__(self, config: VGGTConfig, channels: int) -> None:
        super().__init__(2 * config.embed_dim, config.dpt_features, config.dpt_out_channels, relu_skip=True)
        half = config.dpt_features // 2
        self.scratch.output_conv1 = nn.Conv2d(config.dpt_features, half, 3, padding=1)
        self.scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(half, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, channels, 1)
        )

    def forward(self, taps: Sequence[Tensor], grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> Tensor:
        """Four maps of tokens (N, P, D) → raw channels last, (N, H, W, channels)."""
        fused = self.fuse(self.pyramid(taps, grid_hw, image_hw), (8 * grid_hw[0], 8 * grid_hw[1]))
        fused = resize(self.scratch.output_conv1(fused), image_hw)  # type: ignore[operator]
        return self.scratch.output_conv2(self.embed_uv(fused, image_hw)).permute(0, 2, 3, 1)  # type: ignore[operator]


class VGGT(Backbone):
    """See the module's text. `Decoded.pose` (B, S, 9) describes camera_from_world: translation, quaternion xyzw, fields
    of view vertical and horizontal.
    """

    family = "vggt"
    trunk_prefixes = ("aggregator.",)
    dropped_keys = (
        (r"track_head\.", "the point tracker is left out"),
        (r"aggregator\.patch_embed\.mask_token$", "used in the encoder's training only"),
    )
    dropped_outputs = ("track", "vis", "conf")
    capabilities = Capabilities(has_reference_frame=True, has_gauge=True, native_long_side=518)

    def __init__(self, config: VGGTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VGGTConfig()
        self.patch_size = config.patch_size
        self.special_tokens = 1 + config.num_register_tokens
        self.aggregator = Aggregator(config)
        self.camera_head = CameraHead(
            2 * config.embed_dim, config.camera_trunk_depth, config.camera_heads, config.camera_iterations
        )
        self.depth_head = DenseHead(config, 2)
        self.point_head = DenseHead(config, 4)
        self.normalise = ImageNetNormalise()
        self._tables: TableCache[Rope] = TableCache()

    def cross_layers(self, image_hw: tuple[int, int]) -> list[CrossLayer]:
        """The global blocks, then each pass of the camera head over its trunk."""
        config, (height, width) = self.config, self._grid(image_hw)
        tokens, head_dim = self.special_tokens + height * width, config.embed_dim // config.num_heads
        layers = [
            CrossLayer(f"global_blocks.{i}", "global", tokens, self.special_tokens, config.num_heads, head_dim)
            for i in range(config.depth)
        ]
        head_dim = 2 * config.embed_dim // config.camera_heads
        for i in range(config.camera_iterations):
            for j in range(config.camera_trunk_depth):
                name = f"camera_head.it{i}.trunk.{j}"
                layers.append(CrossLayer(name, "camera", 1, 1, config.camera_heads, head_dim))
        return layers

    def encode(self, images: Tensor) -> Encoded:
        image_hw = checked_image_hw(images, self.patch_size)
        return Encoded(by_frames(self.aggregator.patch_embed, self.normalise(images), self.frames_per_chunk), image_hw)

    def decode(self, encoded: Encoded, plan: AttentionPlan, reference: int | None = 0) -> Decoded:
        plan.begin(encoded.tokens.shape[1], self.cross_layers(encoded.image_hw))
        trunk, rope = self.aggregator, self._rope(encoded.image_hw, encoded.tokens.device)
        x = add_special_tokens(encoded.tokens, (trunk.camera_token, trunk.register_token), reference)
        taps: dict[int, Tensor] = {}
        local = x
        for i, (frame_block, global_block) in enumerate(zip(trunk.frame_blocks, trunk.global_blocks, strict=True)):
            local = frame_block(x, rope, frames_per_chunk=self.frames_per_chunk)
            x = global_block(local, rope, plan, layer=i, frames_per_chunk=self.frames_per_chunk)
            if i in self.config.dpt_taps:
                taps[i] = torch.cat([local[:, :, self.special_tokens :], x[:, :, self.special_tokens :]], -1)
        passes = self.camera_head(torch.cat([local[:, :, 0], x[:, :, 0]], -1), plan, len(trunk.global_blocks))
        kept = tuple(taps[i] for i in self.config.dpt_taps)
        return Decoded(kept, passes[-1], encoded.image_hw, {"pose_enc_passes": passes.transpose(0, 1)})

    def predict(
        self, decoded: Decoded, frames: slice | Sequence[int] | None = None, *, points: bool = False
    ) -> Prediction:
        """Adds to `raw` pose_enc, extrinsics, intrinsics, depth, depth_conf; with `points` world_points(_conf)."""
        index = slice(None) if frames is None else frames if isinstance(frames, slice) else list(frames)
        taps, encoding = [tap[:, index] for tap in decoded.taps], decoded.pose[:, index]
        camera_from_world, intrinsics = decode_pose(encoding, decoded.image_hw)
        depth = self._dense(self.depth_head, taps, decoded.image_hw)
        raw = {"pose_enc": encoding, "extrinsics": camera_from_world[..., :3, :], "intrinsics": intrinsics}
        raw |= {"depth": depth[..., :1].exp(), "depth_conf": 1 + depth[..., 1].exp()}
        if points:
            point = self._dense(self.point_head, taps, decoded.image_hw)
            raw["world_points"] = point[..., :3].sign() * point[..., :3].abs().expm1()
            raw["world_points_conf"] = 1 + point[..., 3].exp()
        return Prediction(
            world_from_camera=invert_rigid(camera_from_world),
            intrinsics=decode_pose(encoding, decoded.image_hw, MIN_TAN)[1],
            depth=raw["depth"][..., 0],
            confidence=depth[..., 1].sigmoid(),
            raw=raw,
        )

    def poses(self, decoded: Decoded) -> Tensor:
        return invert_rigid(decode_pose(decoded.pose, decoded.image_hw)[0])

    def after_random_init(self) -> None:
        """Near the identity rotation and 57 degrees of view, so that random cameras are finite."""
        with torch.no_grad():
            self.camera_head.pose_branch.fc2.weight.mul_(0.1)
            self.camera_head.pose_branch.fc2.bias[6:].fill_(1.0 / self.config.camera_iterations)

    def _dense(self, head: DenseHead, taps: Sequence[Tensor], image_hw: tuple[int, int]) -> Tensor:
        """A dense head over (B, S, P, D) taps, HEAD_FRAMES at a time: (B, S, H, W, channels)."""
        parts = zip(*(tap.flatten(0, 1).split(HEAD_FRAMES) for tap in taps), strict=True)
        maps = torch.cat([head(part, self._grid(image_hw), image_hw) for part in parts])
        return maps.unflatten(0, taps[0].shape[:2])

    def _grid(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return patch_grid(image_hw, self.patch_size)

    def _rope(self, image_hw: tuple[int, int], device: torch.device) -> Rope:
        grid, head_dim = self._grid(image_hw), self.config.embed_dim // self.config.num_heads

        def build() -> Rope:
            return axial_rope(*grid_positions(*grid, self.special_tokens, device), head_dim)

        return self._tables.get((grid, device), build)
