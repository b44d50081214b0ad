"""One training step and the state around it. No files, no clocks: tools/train_bundled.py adds those."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spark3r_core.models.da3 import DA3
from spark3r_core.models.pose_encoding import rigid_matrix, rotation_from_quaternion
from tools.training.augment import augment
from tools.training.checkpoint import Ema
from tools.training.curriculum import GROWTH_FRAMES, PAIRS_FRAMES
from tools.training.losses import (
    Weights,
    depth_losses,
    flow_loss,
    pose_losses,
    ray_loss,
    rotation_degrees,
)
from tools.training.matching import match_patches, window_pairs
from tools.training.optimiser import Optimiser
from tools.training.supervised import SupervisedDense, attention_loss, explicit_on_cpu
from tools.training.window import Window, flip, to_gauge


@dataclass(frozen=True)
class TrainConfig:
    """Optimiser and batch settings; stored in the checkpoint."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.03
    warmup_steps: int = 150
    final_factor: float = 0.03
    decay_share: float = 0.3  # last part of a run over which the learning rate falls
    frames_per_batch: int = 24
    queries: int = 128  # patches per frame whose attention is supervised
    depth_frames: int = 8  # frames per batch whose dense maps are supervised
    max_frames: int = 8
    grad_clip: float = 1.0
    ema_decay: float = 0.998
    seed: int = 0
    autocast: bool = True


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


class Trainer:
    """Model, auxiliary heads, optimiser and average; `step` trains on one window.

    Args:
        model: the network; its patch tokens are the last tokens of each tap.
        config: settings; a resumed run takes those of its checkpoint.
        device: "cpu" or "cuda".
    """

    def __init__(self, model: DA3, config: TrainConfig, device: str = "cpu", weights: Weights | None = None) -> None:
        self.model = model.to(device)
        # Poses need more than bfloat16's three digits.
        decoder = self.model.model.cam_dec
        decoder.forward = torch.autocast(device, enabled=False)(decoder.forward)
        self.config = config
        self.device = torch.device(device)
        self.weights = weights or Weights()
        self.auxiliary = AuxiliaryHeads(2 * model.config.embed_dim).to(device)
        self.ema = Ema(model, config.ema_decay)
        self.optimiser = Optimiser([self.model, self.auxiliary], config.learning_rate, config.weight_decay)
        self.steps = 0
        self.frames_seen = 0
        self.first_step = 0  # of the optimiser, which warms up from there

    def rng(self) -> np.random.Generator:
        """Random numbers of the next step: a function of seed and step, so that resuming changes nothing."""
        return np.random.default_rng((self.config.seed, self.steps))

    def learning_rate(self, progress: float) -> float:
        """Warm-up by steps, then flat, then a cosine over the last part of the run (`progress` in [0, 1])."""
        c = self.config
        warm = min(1.0, (self.steps - self.first_step + 1) / c.warmup_steps)
        late = max(0.0, (progress - (1 - c.decay_share)) / c.decay_share)
        cosine = c.final_factor + (1 - c.final_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, late)))
        return c.learning_rate * warm * cosine

    def prepare(self, window: Window, rng: np.random.Generator) -> Window:
        """Mirror half of the samples, express them in the gauge, change their colours."""
        window = window.to(self.device)
        window = flip(window, torch.from_numpy(rng.random(window.images.shape[0]) < 0.5).to(self.device))
        window = to_gauge(window)
        generator = torch.Generator(device=self.device).manual_seed(int(rng.integers(2**62)))
        images = augment(window.images, generator)
        return Window(images, window.depth, window.world_from_camera, window.intrinsics)

    def step(self, window: Window, progress: float, rng: np.random.Generator) -> dict[str, float]:
        """Train on one window (raw, as drawn) and return the losses and measures as numbers."""
        window = self.prepare(window, rng)
        rate = self.learning_rate(progress)
        self.optimiser.set_learning_rate(rate)
        self.model.train()
        self.optimiser.zero_grad()
        losses, measures = self.losses(window, rng)
        total = self.total(losses)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.optimiser.parameters, self.config.grad_clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            self.ema.update(self.model)
        self.steps += 1
        self.frames_seen += window.images.shape[0] * window.frames
        numbers = {name: float(value.detach()) for name, value in {**losses, **measures}.items()}
        return {"loss": float(total.detach()), "norm": float(norm), "rate": rate, **numbers}

    def losses(self, window: Window, rng: np.random.Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        batch, frames = window.images.shape[:2]
        image_hw = (window.images.shape[-2], window.images.shape[-1])
        patch = self.model.patch_size
        pairs = window_pairs(frames)
        plan = SupervisedDense()
        bfloat16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast)
        with bfloat16, explicit_on_cpu(self.device):
            decoded = self.model.decode(self.model.encode(window.images), plan, reference=0)
        # Dense maps of some frames only: the head costs as much as the trunk, and its lesson is the same everywhere.
        chosen = torch.from_numpy(rng.permutation(batch * frames)[: self.config.depth_frames]).to(self.device)
        some = replace(
            decoded,
            taps=tuple(tap.flatten(0, 1)[chosen, None] for tap in decoded.taps),
            pose=decoded.pose.flatten(0, 1)[chosen, None],
        )
        raw = self.model.predict(some).raw
        encoding = decoded.pose.float()
        pose = pose_matrix(encoding)
        matches = (
            match_patches(window.depth, window.world_from_camera, window.intrinsics, patch, pairs) if pairs else None
        )
        losses = pose_losses(pose, encoding[..., 7:9], window, matches)
        losses |= depth_losses(raw["depth"][:, 0], raw["depth_conf"][:, 0], window.depth.flatten(0, 1)[chosen])
        patches = (image_hw[0] // patch) * (image_hw[1] // patch)
        last = decoded.taps[-1][:, :, -patches:].float()
        losses["rays"] = ray_loss(self.auxiliary.rays(last), window, patch)
        measures: dict[str, Tensor] = {}
        if matches is not None:
            queries = torch.from_numpy(rng.permutation(patches)[: self.config.queries]).to(self.device)
            middle = decoded.taps[1][:, :, -patches:].float()
            losses["flow"] = flow_loss(self.auxiliary.flow(middle), matches, patch)
            losses["late_flow"] = flow_loss(self.auxiliary.late_flow(last), matches, patch)
            found = attention_loss(plan, matches, queries)
            losses |= {"attention": found.pairwise, "fetch": found.window, "position": found.position}
            measures["accuracy"] = found.accuracy
            measures |= pose_measures(pose.detach(), window.world_from_camera)
        return losses, measures

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        w = self.weights
        factor = {**asdict(w), "relative_rotation": w.relative * w.rotation, "late_flow": w.flow}
        factor["relative_direction"] = w.relative * w.direction
        factor["relative_translation"] = w.relative * w.translation
        for name in ("attention", "fetch", "position"):
            factor[name] *= matching_share(self.frames_seen)
        return torch.stack([factor[name] * value for name, value in losses.items()]).sum()

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "auxiliary": self.auxiliary.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "frames_seen": self.frames_seen,
            "first_step": self.first_step,
            "train_config": asdict(self.config),
            "model_config": asdict(self.model.config),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.auxiliary.load_state_dict(state["auxiliary"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.frames_seen = state["steps"], state["frames_seen"]
        self.first_step = state["first_step"]

    def start_from(self, weights: dict[str, Tensor], steps: int, frames_seen: int) -> None:
        """Go on from weights alone: averages restart at them, the optimiser and auxiliary heads begin afresh."""
        self.model.load_state_dict(weights)
        self.ema = Ema(self.model, self.config.ema_decay)
        self.steps = self.first_step = steps
        self.frames_seen = frames_seen


def matching_share(frames_seen: int) -> float:
    """Weight of the attention supervision: full while pairs are learned, then falling to what keeps it alive."""
    return 1.0 - 0.5 * min(1.0, max(0.0, (frames_seen - PAIRS_FRAMES) / GROWTH_FRAMES))


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
