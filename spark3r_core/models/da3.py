"""Depth-Anything-3 (any-view): one ViT whose later blocks alternate between each frame and all frames.

ByteDance-Seed/Depth-Anything-3. Key names are those of the released files. Blocks before `alt_start`
are per frame and make up `encode`; the rest is `decode`; the depth and ray head is `predict`.

The reference reorders frames so that the chosen view comes first. Nothing in the network knows a frame's position but
its camera token, so here the order stays and only the token moves: same numbers, nothing to undo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from spark3r_core.attention.plan import AttentionPlan, Dense
from spark3r_core.errors import ImageError
from spark3r_core.models.da3_parts import DA3Config, DA3Net, VitStack
from spark3r_core.models.facts import Capabilities
from spark3r_core.models.interface import Backbone, CrossLayer, Decoded, Encoded, Prediction
from spark3r_core.models.layers import ImageNetNormalise, by_frames
from spark3r_core.models.pose_encoding import (
    decode_pose,
    fov_from_intrinsics,
    invert_rigid,
    quat_xyzw_from_rotation,
    rigid_matrix,
)
from spark3r_core.models.reference_view import STRATEGIES, choose_reference
from spark3r_core.models.rope import Rope, TableCache, axial_rope, grid_positions

HEAD_FRAMES_PER_CHUNK = 8  # the dense head's maps are large; its frames are independent


class DA3(Backbone):
    """Depth-Anything-3 of any size. `has_reference_frame`: the world is the reference view's camera."""

    family = "da3"
    trunk_prefixes = ("model.backbone.pretrained.",)
    dropped_keys = ((r"model\.gs_(head|adapter)\.", "Gaussian splatting head, not used for reconstruction"),)
    tied_keys: ClassVar[dict[str, str]] = {
        f"model.head.scratch.output_conv2_aux.{level}.2.{name}": f"model.head.scratch.output_conv2_aux.0.2.{name}"
        for level in (1, 2, 3)
        for name in ("weight", "bias")
    }

    def __init__(self, config: DA3Config) -> None:
        super().__init__()
        self.config = config
        self.patch_size = config.patch_size
        self.capabilities = Capabilities(
            has_reference_frame=True,
            has_gauge=True,
            native_long_side=config.native_long_side,
            native_patches=config.native_patches,
            stream_pages=config.stream_pages,
            reanchor_every=config.reanchor_every,
            refines=config.refines,
        )
        self.model = DA3Net(config)
        self.normalise = ImageNetNormalise()
        self._tables: TableCache[Rope] = TableCache()

    @property
    def _vit(self) -> VitStack:
        return self.model.backbone.pretrained

    def _is_global(self, block: int) -> bool:
        return block >= self.config.alt_start and block % 2 == 1

    def _grid(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        height, width = image_hw
        if height < 1 or width < 1 or height % self.patch_size or width % self.patch_size:
            raise ImageError(f"image sides must be multiples of {self.patch_size} pixels, got {width}x{height}; resize")
        return height // self.patch_size, width // self.patch_size

    def cross_layers(self, image_hw: tuple[int, int]) -> list[CrossLayer]:
        height, width = self._grid(image_hw)
        heads, dim = self.config.num_heads, self.config.embed_dim
        return [
            CrossLayer(f"blocks.{i}", "global", 1 + height * width, 1, heads, dim // heads)
            for i in range(self.config.depth)
            if self._is_global(i)
        ]

    def encode(self, images: Tensor) -> Encoded:
        """images: (B, S, 3, H, W) in [0, 1]; ImageNet normalisation happens here."""
        return self.encode_normalised(self.normalise(images))

    def encode_normalised(self, images: Tensor) -> Encoded:
        """Patch embedding and the blocks before `alt_start`, for images that are normalised already."""
        if images.dim() != 5 or images.shape[2] != 3:
            raise ImageError(f"expected images of shape (B, S, 3, H, W), got {tuple(images.shape)}")
        image_hw = (images.shape[-2], images.shape[-1])
        grid = self._grid(image_hw)
        vit = self._vit
        patches = by_frames(lambda x: vit.patch_embed(x[0])[None], images.flatten(0, 1)[None], self.frames_per_chunk)
        patches = patches.squeeze(0).unflatten(0, images.shape[:2])  # (B, S, P, C)
        cls = vit.cls_token[:, None].expand(*images.shape[:2], -1, -1)
        x = torch.cat((cls, patches.to(cls.dtype)), dim=2) + vit.position_embedding(grid)
        selector = x[:, :, 0]
        for i in range(self.config.alt_start):
            selector = x[:, :, 0]  # what enters the last of these blocks is what reference selection reads
            x = vit.blocks[i](x, frames_per_chunk=self.frames_per_chunk)
        return Encoded(x, image_hw, selector)

    def decode(
        self,
        encoded: Encoded,
        plan: AttentionPlan | None = None,
        reference: int | str | None = 0,
        posed: tuple[Tensor, Tensor] | None = None,
    ) -> Decoded:
        """The alternating blocks and the camera decoder.

        Args:
            plan: how frames see each other; None is `Dense()`.
            reference: index of the frame whose camera is the world; None when it is not in this window; or the name of
                a strategy ("first", "middle", "saddle_balanced", "saddle_sim_range"), which looks at all frames and is
                therefore for offline use; with fewer than three frames every strategy takes the first.
            posed: known (camera_from_world (B, S, 4, 4), intrinsics (B, S, 3, 3) in input pixels); their encoding
                replaces the camera tokens, and `reference` has no effect. The pose encoder sees these frames only.

        Returns:
            taps (B, S, P, 2C) ready for the head; pose (B, S, 9): camera-to-world translation, quaternion xyzw,
            vertical and horizontal field of view; extras["reference"] (B,): index of the world's frame, -1: None.
        """
        plan = Dense() if plan is None else plan
        vit, config = self._vit, self.config
        x = encoded.tokens
        batch, frames = x.shape[:2]
        grid = self._grid(encoded.image_hw)
        plan.begin(frames, self.cross_layers(encoded.image_hw))

        index = self._reference_index(encoded, reference)
        if posed is not None:
            camera = self.encode_poses(*posed, encoded.image_hw)
        else:
            first = torch.arange(frames, device=x.device) == index[:, None]  # (B, S)
            camera = torch.where(first[..., None], vit.camera_token[:, :1], vit.camera_token[:, 1:])
        camera = camera[:, :, None].expand(batch, -1, -1, -1).to(x.dtype)
        local = x = torch.cat((camera, x[:, :, 1:]), dim=2)

        head_dim = config.embed_dim // config.num_heads
        local_rope = self._tables.get(
            ("local", grid, head_dim, x.device), lambda: axial_rope(*grid_positions(*grid, 1, x.device), head_dim)
        )
        global_rope = self._tables.get(
            ("global", grid, head_dim, x.device), lambda: axial_rope(*_constant_positions(grid, x.device), head_dim)
        )
        taps: list[Tensor] = []
        camera_token = x[:, :, 0]
        layer = 0
        for i in range(config.alt_start, max(config.out_layers) + 1):
            if self._is_global(i):
                x = vit.blocks[i](x, global_rope, plan, layer, frames_per_chunk=self.frames_per_chunk)
                layer += 1
            else:
                local = x = vit.blocks[i](x, local_rope, frames_per_chunk=self.frames_per_chunk)
            if i in config.out_layers:
                # the final norm belongs to the cross-frame half only, and the camera decoder reads neither normalised
                taps.append(torch.cat((local[:, :, 1:], vit.norm(x[:, :, 1:])), dim=-1))
                camera_token = torch.cat((local[:, :, 0], x[:, :, 0]), dim=-1)
        pose = self.model.cam_dec(camera_token)
        return Decoded(tuple(taps), pose, encoded.image_hw, {"reference": index.expand(batch)})

    def _reference_index(self, encoded: Encoded, reference: int | str | None) -> Tensor:
        """(B,) or (1,) index of the reference frame, -1 when it is not in the window; never waits for the device."""
        device, frames = encoded.tokens.device, encoded.tokens.shape[1]
        if isinstance(reference, str):
            if encoded.selector is None or reference not in STRATEGIES:
                raise ValueError(f"reference strategies are {', '.join(STRATEGIES)}; got {reference!r}")
            return choose_reference(encoded.selector, reference)
        if reference is not None and not 0 <= reference < frames:
            raise ValueError(f"reference frame {reference} is not among the {frames} frames of this window")
        return torch.full((1,), -1 if reference is None else reference, device=device)

    def encode_poses(self, camera_from_world: Tensor, intrinsics: Tensor, image_hw: tuple[int, int]) -> Tensor:
        """Camera tokens (B, S, C) from known poses, used as given (see `relative_poses`)."""
        if not self.config.with_cam_enc:
            raise ValueError("this network has no pose encoder (with_cam_enc=False); leave out `posed`")
        world_from_camera = invert_rigid(camera_from_world)
        quat = quat_xyzw_from_rotation(world_from_camera[..., :3, :3])
        fov = torch.stack(fov_from_intrinsics(intrinsics, image_hw), dim=-1)
        return self.model.cam_enc(torch.cat((world_from_camera[..., :3, 3], quat, fov), dim=-1))

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None, rays: bool = False) -> Prediction:
        """Poses and dense maps of the chosen frames (None: all), `HEAD_FRAMES_PER_CHUNK` at a time.

        rays: also run the ray branch; raw["ray"] (B, S, 8h, 8w, 6) and raw["ray_conf"], on 8x the patch grid.
        """
        index = slice(None) if frames is None else frames if isinstance(frames, slice) else list(frames)
        if rays and not self.config.with_rays:
            raise ValueError("this network has no ray branch (with_rays=False)")
        pose = decoded.pose[:, index]
        taps = [tap[:, index] for tap in decoded.taps]
        batch, count = pose.shape[:2]
        grid = self._grid(decoded.image_hw)
        chunks = [
            self.model.head(part, grid, decoded.image_hw, rays)
            for part in zip(*(tap.flatten(0, 1).split(HEAD_FRAMES_PER_CHUNK) for tap in taps), strict=True)
        ]
        maps = {name: torch.cat([c[name] for c in chunks]).unflatten(0, (batch, count)) for name in chunks[0]}
        world_from_camera, intrinsics = decode_pose(pose, decoded.image_hw, min_tan=1e-6)
        confidence = maps.pop("confidence")
        raw = maps | {
            "extrinsics": invert_rigid(world_from_camera)[..., :3, :],
            "intrinsics": intrinsics,
            "pose_enc": pose,
        }
        return Prediction(world_from_camera, intrinsics, maps["depth"], confidence, raw)

    def poses(self, decoded: Decoded) -> Tensor:
        """world_from_camera (B, S, 4, 4) of every frame of the window, without the dense head."""
        return decode_pose(decoded.pose, decoded.image_hw, min_tan=1e-6)[0]

    def after_random_init(self) -> None:
        """Identity rotation and about 57 degrees of view, so that random cameras are finite."""
        decoder = self.model.cam_dec
        with torch.no_grad():
            decoder.fc_qvec.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
            decoder.fc_fov.get_parameter("0.bias").fill_(1.0)


def _constant_positions(grid: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """In global blocks every patch sits at (1, 1): rotation tells camera tokens from patches and nothing else."""
    row, column = grid_positions(*grid, 1, device)
    return row.clamp(max=1), column.clamp(max=1)


def relative_poses(camera_from_world: Tensor) -> Tensor:
    """What the reference's high-level API does before `posed`: poses relative to view 0, unit-size trajectory.

    Translations are divided by the lower median of the camera distances from view 0, at least 0.1.
    (B, S, 4, 4) → (B, S, 4, 4)
    """
    world_from_camera = camera_from_world[:, :1] @ invert_rigid(camera_from_world)
    distance = world_from_camera[..., :3, 3].norm(dim=-1).median(dim=1).values.clamp(min=0.1)
    scaled = world_from_camera[..., :3, 3] / distance[:, None, None]
    return invert_rigid(rigid_matrix(world_from_camera[..., :3, :3], scaled))
