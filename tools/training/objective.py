"""What one decoded window is told: losses and measures of its poses, its dense maps, and where its attention looks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from spark3r_core.models.da3 import DA3
from spark3r_core.models.interface import Decoded
from spark3r_core.models.pose_encoding import rigid_matrix, rotation_from_quaternion
from tools.training.losses import depth_losses, flow_loss, pose_losses, ray_loss, rotation_degrees
from tools.training.matching import match_patches, window_pairs
from tools.training.schedule import StreamWindow
from tools.training.supervised import SupervisedDense, attention_loss
from tools.training.window import Window


class AuxiliaryHeads(nn.Module):
    """Linear read-outs that exist in training only: where a patch is in frame 0, and the ray it looks along.

    They read the token maps of the taps (width 2C): the flow heads the second one (after the supervised layers) and
    the last, so that what was matched stays at hand for the camera token; the ray head the last.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.flow = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))
        self.rays = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 6))
        self.late_flow = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))


def window_losses(
    decoded: Decoded, target: Window, plan: SupervisedDense, heads: AuxiliaryHeads | None, queries: Tensor, patch: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses of everything but dense maps, and measures, of all frames of a window.

    Args:
        decoded: the window; its patch tokens are the last tokens of each tap.
        target: the same frames in the gauge of the first one.
        plan: that it was decoded with, and nothing since.
        heads: None: no rays and no matching, which only layers that are trained can learn.
        queries: (Q,) patches of every frame whose attention is supervised.
        patch: side of a patch in pixels.
    """
    height, width = target.images.shape[-2:]
    patches = (height // patch) * (width // patch)
    pairs = window_pairs(target.frames)
    matches = match_patches(target.depth, target.world_from_camera, target.intrinsics, patch, pairs) if pairs else None
    encoding = decoded.pose.float()
    pose = pose_matrix(encoding)
    losses = pose_losses(pose, encoding[..., 7:9], target, matches)
    if heads is None:
        return losses, {} if matches is None else pose_measures(pose.detach(), target.world_from_camera)
    last = decoded.taps[-1][:, :, -patches:].float()
    losses["rays"] = ray_loss(heads.rays(last), target, patch)
    if matches is None:
        return losses, {}
    middle = decoded.taps[1][:, :, -patches:].float()
    losses["flow"] = flow_loss(heads.flow(middle), matches, patch)
    losses["late_flow"] = flow_loss(heads.late_flow(last), matches, patch)
    found = attention_loss(plan, matches, queries)
    losses |= {"attention": found.pairwise, "fetch": found.window, "position": found.position}
    return losses, {"accuracy": found.accuracy, **pose_measures(pose.detach(), target.world_from_camera)}


class DenseFrames:
    """Collects, window by window, the new frames whose dense maps are supervised; the head runs once for all.

    Only some: the head costs as much as the trunk, and its lesson is the same everywhere.
    """

    def __init__(self, batch: int, frames: int, count: int, rng: np.random.Generator) -> None:
        self._sample, self._frame = np.divmod(rng.permutation(batch * frames)[:count], frames)
        self._parts: list[Decoded] = []
        self._depth: list[Tensor] = []

    def add(self, window: StreamWindow, decoded: Decoded, target: Window) -> None:
        chosen = np.isin(self._frame, window.new)
        sample = torch.from_numpy(self._sample[chosen]).to(target.depth.device)
        place = torch.from_numpy(self._frame[chosen] - window.new[0] + len(window.support)).to(sample.device)
        taps = tuple(tap[sample, place][:, None] for tap in decoded.taps)
        self._parts.append(replace(decoded, taps=taps, pose=decoded.pose[sample, place][:, None]))
        self._depth.append(target.depth[sample, place])

    def losses(self, model: DA3) -> dict[str, Tensor]:
        taps = tuple(torch.cat(column) for column in zip(*(part.taps for part in self._parts), strict=True))
        together = replace(self._parts[0], taps=taps, pose=torch.cat([part.pose for part in self._parts]))
        raw = model.predict(together).raw
        return depth_losses(raw["depth"][:, 0], raw["depth_conf"][:, 0], torch.cat(self._depth))


@dataclass
class FrameMeans:
    """Means over windows, weighted by their new frames. A window of one frame has no matches and lacks some names."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)

    def add(self, values: dict[str, Tensor], frames: int) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + frames * value
            self.frames[name] = self.frames.get(name, 0) + frames

    def means(self) -> dict[str, Tensor]:
        return {name: value / self.frames[name] for name, value in self.sums.items()}


def pose_matrix(encoding: Tensor) -> Tensor:
    """World-from-camera (..., 4, 4) from DA3's pose encoding (..., 9): translation, quaternion xyzw, fov."""
    return rigid_matrix(rotation_from_quaternion(encoding[..., 3:7]), encoding[..., :3])


@torch.no_grad()
def pose_measures(predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Mean rotation error of frames 1… against frame 0 in degrees, that of predicting no motion, and translations."""
    relative = torch.linalg.inv(predicted[:, :1]) @ predicted[:, 1:]
    target = true[:, 1:]
    still = torch.eye(3, device=true.device).expand_as(target[..., :3, :3])
    return {
        "degrees": rotation_degrees(relative[..., :3, :3], target[..., :3, :3]).mean(),
        "degrees_still": rotation_degrees(still, target[..., :3, :3]).mean(),
        "shift": (relative[..., :3, 3] - target[..., :3, 3]).norm(dim=-1).mean(),
        "shift_still": target[..., :3, 3].norm(dim=-1).mean(),
    }
