"""A training window in the network's gauge: frame 0's camera is the world, frame 0's mean depth is the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

CLIP_MEDIANS = 4.0
MIN_SCALE = 1e-3


@dataclass(frozen=True)
class Window:
    """images: (B, S, 3, H, W) in [0, 1]; depth: (B, S, H, W), inf for sky; world_from_camera: (B, S, 4, 4);
    intrinsics: (B, S, 3, 3) pixels."""

    images: Tensor
    depth: Tensor
    world_from_camera: Tensor
    intrinsics: Tensor

    @property
    def frames(self) -> int:
        return self.images.shape[1]

    def of_frames(self, index: Sequence[int]) -> Window:
        """The chosen frames, in that order."""
        chosen = list(index)
        return Window(
            self.images[:, chosen],
            self.depth[:, chosen],
            self.world_from_camera[:, chosen],
            self.intrinsics[:, chosen],
        )

    def to(self, device: torch.device | str) -> Window:
        moved = (t.to(device) for t in (self.images, self.depth, self.world_from_camera, self.intrinsics))
        return Window(*moved)


def gauge_scale(depth: Tensor) -> Tensor:
    """Mean depth (B,) of one frame's depth maps (B, H, W), each value clipped at four medians; sky left out.

    Only frame 0 decides, so the scale is causal and every window that re-runs the anchor is in the same one. The clip
    keeps a far corner from setting the unit.
    """
    solid = torch.isfinite(depth) & (depth > 0)
    flat = torch.where(solid, depth, torch.nan).flatten(1)
    median = flat.nanmedian(1).values.nan_to_num(1.0)
    mean = flat.clamp(max=CLIP_MEDIANS * median[:, None]).nanmean(1)
    return mean.nan_to_num(1.0).clamp_min(MIN_SCALE)


def to_gauge(window: Window) -> Window:
    """Express poses relative to frame 0 and divide lengths by its mean depth."""
    scale = gauge_scale(window.depth[:, 0])
    relative = torch.linalg.inv(window.world_from_camera[:, :1].double()) @ window.world_from_camera.double()
    relative[..., :3, 3] /= scale[:, None, None].double()
    depth = window.depth / scale[:, None, None, None]
    return replace(window, depth=depth, world_from_camera=relative.float())


def flip(window: Window, chosen: Tensor) -> Window:
    """Mirror the samples where `chosen` (B,) is true: left and right change sides, exactly."""
    width = window.images.shape[-1]
    pick = chosen[:, None, None, None]
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0], device=window.images.device))
    intrinsics = window.intrinsics.clone()
    intrinsics[..., 0, 2] = width - intrinsics[..., 0, 2]
    return Window(
        torch.where(pick[..., None], window.images.flip(-1), window.images),
        torch.where(pick, window.depth.flip(-1), window.depth),
        torch.where(pick, mirror @ window.world_from_camera @ mirror, window.world_from_camera),
        torch.where(pick, intrinsics, window.intrinsics),
    )
