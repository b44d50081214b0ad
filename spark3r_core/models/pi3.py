"""pi3 (Wang et al. 2025, "pi^3: Permutation-Equivariant Visual Geometry Learning").

Every frame is [register tokens | patches] with the same registers for all, so no frame is special: reordering the
input reorders the output. One stack alternates blocks per frame and over all frames; three small decoders per frame
then lead to point maps, confidence and the camera. The world frame and the scale of the poses are implicit: poses of
two windows must be aligned before they can be compared.

Shapes: B batch, S frames, T = registers + P tokens, C width, H x W image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.dinov2 import DinoV2, checked_image_hw, patch_grid
from spark3r_core.models.facts import Capabilities
from spark3r_core.models.interface import Backbone, CrossLayer, Decoded, Encoded, Prediction
from spark3r_core.models.layers import Block, ImageNetNormalise, Linear, by_frames
from spark3r_core.models.pi3_heads import LinearMapHead, PoseHead, fit_intrinsics
from spark3r_core.models.rope import Rope, TableCache, axial_rope, grid_positions

HEAD_FRAMES = 8  # frames that go through the dense decoders and heads at a time; bounds memory, changes nothing
REGISTER_TOKENS = 5


@dataclass(frozen=True)
class Pi3Config:
    """Sizes; the defaults are the released ones."""

    encoder_img_size: int = 518
    encoder_dim: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    dec_dim: int = 1024
    dec_heads: int = 16
    dec_depth: int = 36
    head_decoder_dim: int = 1024
    head_decoder_heads: int = 16
    head_decoder_depth: int = 5
    head_out_dim: int = 1024
    camera_out_dim: int = 512
    patch_size: int = 14


class FrameDecoder(nn.Module):
    """A few blocks within each frame on the trunk's tokens, registers included; no q/k-norm, no LayerScale."""

    def __init__(self, config: Pi3Config, out_dim: int) -> None:
        super().__init__()
        dim = config.head_decoder_dim
        self.projects = Linear(2 * config.dec_dim, dim)
        self.blocks = nn.ModuleList(
            Block(dim, config.head_decoder_heads, eps=1e-6, layer_scale=None) for _ in range(config.head_decoder_depth)
        )
        self.linear_out = Linear(dim, out_dim)

    def forward(self, tokens: Tensor, rope: Rope) -> Tensor:
        """(B, S, T, 2C) → (B, S, T, out_dim)."""
        x = self.projects(tokens)
        for block in self.blocks:
            x = block(x, rope)
        return self.linear_out(x)


class Pi3(Backbone):
    """See the module's text. `Decoded.pose` is world_from_camera (B, S, 4, 4): the camera decoder needs no other frame,
    but poses of all frames are wanted (alignment), dense maps often only of the new ones.
    """

    family = "pi3"
    # the decoders run under autocast in the reference too; only the last heads are float32
    trunk_prefixes = ("encoder.", "decoder.", "point_decoder.", "conf_decoder.", "camera_decoder.")
    # 255,000 pixels, whatever the picture's shape
    capabilities = Capabilities(has_reference_frame=False, has_gauge=False, native_long_side=574, native_patches=1301)

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: Pi3Config | None = None) -> None:
        super().__init__()
        self.config = config = config or Pi3Config()
        self.patch_size = config.patch_size
        constants = ImageNetNormalise()  # stored in the file here, unlike in the other families
        self.register_buffer("image_mean", constants.mean[None].clone())
        self.register_buffer("image_std", constants.std[None].clone())
        self.encoder = DinoV2(
            img_size=config.encoder_img_size,
            patch_size=config.patch_size,
            dim=config.encoder_dim,
            depth=config.encoder_depth,
            num_heads=config.encoder_heads,
        )
        self.register_token = nn.Parameter(torch.zeros(1, 1, REGISTER_TOKENS, config.dec_dim))
        self.decoder = nn.ModuleList(
            Block(config.dec_dim, config.dec_heads, eps=1e-6, qk_norm=True) for _ in range(config.dec_depth)
        )
        self.point_decoder = FrameDecoder(config, config.head_out_dim)
        self.point_head = self.make_point_head()
        self.conf_decoder = FrameDecoder(config, config.head_out_dim)
        self.conf_head = self.make_conf_head()
        self.camera_decoder = FrameDecoder(config, config.camera_out_dim)
        self.camera_head = PoseHead(config.camera_out_dim)
        self._tables: TableCache[Rope] = TableCache()

    def make_point_head(self) -> nn.Module:
        return LinearMapHead(self.config.head_out_dim, self.patch_size, 3)

    def make_conf_head(self) -> nn.Module:
        return LinearMapHead(self.config.head_out_dim, self.patch_size, 1)

    def point_maps(self, patches: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Decoded patches (N, P, head_out_dim) → points in the camera's frame (N, H, W, 3)."""
        x, y, log_z = self.point_head(patches, self._grid(image_hw)).unbind(1)
        z = log_z.exp()
        return torch.stack([x * z, y * z, z], -1)

    def confidence_logits(self, patches: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Decoded patches (N, P, head_out_dim) → (N, H, W, 1)."""
        return self.conf_head(patches, self._grid(image_hw)).permute(0, 2, 3, 1)

    def cross_layers(self, image_hw: tuple[int, int]) -> list[CrossLayer]:
        """The odd blocks of the trunk."""
        config, (height, width) = self.config, self._grid(image_hw)
        tokens, head_dim = REGISTER_TOKENS + height * width, config.dec_dim // config.dec_heads
        return [
            CrossLayer(f"decoder.{i}", "global", tokens, REGISTER_TOKENS, config.dec_heads, head_dim)
            for i in range(1, config.dec_depth, 2)
        ]

    def encode(self, images: Tensor) -> Encoded:
        image_hw = checked_image_hw(images, self.patch_size)
        normalised = (images - self.image_mean) / self.image_std
        return Encoded(by_frames(self.encoder, normalised, self.frames_per_chunk), image_hw)

    def decode(self, encoded: Encoded, plan: AttentionPlan, reference: int | None = 0) -> Decoded:
        """`reference` is ignored: there are no tokens of a first frame."""
        del reference
        batch, frames = encoded.tokens.shape[:2]
        plan.begin(frames, self.cross_layers(encoded.image_hw))
        rope = self._rope(encoded.image_hw, self.config.dec_dim // self.config.dec_heads)
        registers = self.register_token.expand(batch, frames, -1, -1)
        x = local = torch.cat([registers, encoded.tokens.to(registers.dtype)], 2)
        for i, block in enumerate(self.decoder):
            if i % 2 == 0:
                x = local = block(x, rope, frames_per_chunk=self.frames_per_chunk)
            else:
                x = block(x, rope, plan, i // 2, frames_per_chunk=self.frames_per_chunk)
        features = torch.cat([local, x], -1)
        pose = by_frames(lambda part: self._pose(part, encoded.image_hw), features, HEAD_FRAMES)
        return Decoded((features,), pose, encoded.image_hw)

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None) -> Prediction:
        """Intrinsics are fitted to the local points (`fit_intrinsics`), weighted by the confidence.

        `raw`: local_points and points (B, S, H, W, 3), conf (B, S, H, W, 1) as logits, camera_poses (B, S, 4, 4).
        """
        index = slice(None) if frames is None else frames if isinstance(frames, slice) else list(frames)
        features, pose, image_hw = decoded.taps[0][:, index], decoded.pose[:, index], decoded.image_hw
        local_points = by_frames(lambda part: self._local_points(part, image_hw), features, HEAD_FRAMES)
        logits = by_frames(lambda part: self._logits(part, image_hw), features, HEAD_FRAMES)
        confidence = logits[..., 0].sigmoid()
        intrinsics = fit_intrinsics(local_points.flatten(0, 1), confidence.flatten(0, 1)).unflatten(0, pose.shape[:2])
        points = torch.einsum("bsij,bshwj->bshwi", pose[..., :3, :3], local_points) + pose[:, :, None, None, :3, 3]
        raw = {"local_points": local_points, "conf": logits, "camera_poses": pose, "points": points}
        return Prediction(pose, intrinsics, local_points[..., 2], confidence, raw)

    def poses(self, decoded: Decoded) -> Tensor:
        return decoded.pose

    def after_random_init(self) -> None:
        """Depths within an order of magnitude of 1: the exponential of a plain random layer spans eighteen."""
        with torch.no_grad():
            for head in (self.point_head, self.conf_head):
                if isinstance(head, LinearMapHead):
                    head.proj.weight.mul_(0.1)

    def _pose(self, features: Tensor, image_hw: tuple[int, int]) -> Tensor:
        return self._per_frame(self.camera_decoder, self.camera_head, features, image_hw)

    def _local_points(self, features: Tensor, image_hw: tuple[int, int]) -> Tensor:
        return self._per_frame(self.point_decoder, lambda x: self.point_maps(x, image_hw), features, image_hw)

    def _logits(self, features: Tensor, image_hw: tuple[int, int]) -> Tensor:
        return self._per_frame(self.conf_decoder, lambda x: self.confidence_logits(x, image_hw), features, image_hw)

    def _per_frame(
        self, decoder: FrameDecoder, head: Callable[[Tensor], Tensor], features: Tensor, image_hw: tuple[int, int]
    ) -> Tensor:
        """One decoder on (B, S, T, 2C) and, in float32, its head on the patches: (B, S, ...)."""
        rope = self._rope(image_hw, self.config.head_decoder_dim // self.config.head_decoder_heads)
        patches = decoder(features, rope)[:, :, REGISTER_TOKENS:].float()
        return head(patches.flatten(0, 1)).unflatten(0, features.shape[:2])

    def _grid(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return patch_grid(image_hw, self.patch_size)

    def _rope(self, image_hw: tuple[int, int], head_dim: int) -> Rope:
        grid, device = self._grid(image_hw), self.register_token.device

        def build() -> Rope:
            return axial_rope(*grid_positions(*grid, REGISTER_TOKENS, device), head_dim)

        return self._tables.get((grid, head_dim, device), build)
