"""One training step and the state around it. No files, no clocks: tools/train_bundled.py adds those."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spark3r_core.models.da3 import DA3
from tools.training.augment import augment
from tools.training.checkpoint import Ema
from tools.training.curriculum import GROWTH_FRAMES, PAIRS_FRAMES
from tools.training.losses import KEYFRAME_WEIGHTS, Weights
from tools.training.objective import AuxiliaryHeads, DenseFrames, FrameMeans, window_losses
from tools.training.optimiser import Optimiser
from tools.training.schedule import Schedule, whole
from tools.training.streamed import SupervisedStream, decode_window
from tools.training.supervised import explicit_on_cpu
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
    phase: str = "bidirectional"  # one of curriculum.PHASES
    frozen_blocks: int = 0  # first blocks of the trunk that stay as they are, with stem, positions and tokens


class Trainer:
    """Model, auxiliary heads, optimiser and average; `step` trains on one batch of windows or streams.

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
        self.weights = weights or (KEYFRAME_WEIGHTS if config.phase == "keyframes" else Weights())
        if config.frozen_blocks:
            freeze(model, config.frozen_blocks)
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
        """Mirror half of the samples, change their colours."""
        window = window.to(self.device)
        window = flip(window, torch.from_numpy(rng.random(window.images.shape[0]) < 0.5).to(self.device))
        generator = torch.Generator(device=self.device).manual_seed(int(rng.integers(2**62)))
        images = augment(window.images, generator)
        return Window(images, window.depth, window.world_from_camera, window.intrinsics)

    def step(
        self, window: Window, progress: float, rng: np.random.Generator, schedule: Schedule | None = None
    ) -> dict[str, float]:
        """Train on one batch (raw, as drawn) and return the losses and measures as numbers.

        schedule: cuts the frames, which are streams, into windows; their numbers are named stream_…. None: one window.
        """
        window = self.prepare(window, rng)
        rate = self.learning_rate(progress)
        self.optimiser.set_learning_rate(rate)
        self.model.train()
        self.optimiser.zero_grad()
        losses, measures = self.losses(window, schedule or whole(window.frames), rng)
        total = self.total(losses)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.optimiser.parameters, self.config.grad_clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            self.ema.update(self.model)
        self.steps += 1
        self.frames_seen += window.images.shape[0] * window.frames
        kind = "stream_" if schedule else ""
        numbers = {kind + name: float(value.detach()) for name, value in {"loss": total, **losses, **measures}.items()}
        return {"norm": float(norm), "rate": rate, **numbers}

    def losses(
        self, stream: Window, schedule: Schedule, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses and measures of the windows of a batch of streams, each window in the gauge of its anchor."""
        batch, patch = stream.images.shape[0], self.model.patch_size
        patches = (stream.images.shape[-2] // patch) * (stream.images.shape[-1] // patch)
        dense = DenseFrames(batch, stream.frames, self.config.depth_frames, rng)
        queries = torch.from_numpy(rng.permutation(patches)[: self.config.queries]).to(self.device)
        plan = SupervisedStream(schedule)
        losses, measures = FrameMeans(), FrameMeans()
        with self._fast():
            encoded = self.model.encode(stream.images)
        for window in schedule.windows:
            with self._fast():
                decoded = decode_window(self.model, encoded, window, plan)
            target = to_gauge(stream.of_frames(window.frames))
            dense.add(window, decoded, target)
            heads = None if self.config.frozen_blocks else self.auxiliary
            told, seen = window_losses(decoded, target, plan, heads, queries, patch)
            losses.add(told, len(window.new))
            measures.add(seen, len(window.new))
        return losses.means() | dense.losses(self.model), measures.means()

    @contextmanager
    def _fast(self) -> Iterator[None]:
        """bfloat16 and the attention kernels that train fastest."""
        bfloat16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast)
        with bfloat16, explicit_on_cpu(self.device):
            yield

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


def freeze(model: DA3, blocks: int) -> None:
    """Leave stem, positions, tokens and the first blocks of the trunk as they are: what they match is kept, and no
    gradient has to be brought there."""
    trunk: Any = model.model.backbone.pretrained
    trained = [parameter for block in trunk.blocks[blocks:] for parameter in block.parameters()]
    trained += list(trunk.norm.parameters())
    trunk.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)


def matching_share(frames_seen: int) -> float:
    """Weight of the attention supervision: full while pairs are learned, then falling to what keeps it alive."""
    return 1.0 - 0.5 * min(1.0, max(0.0, (frames_seen - PAIRS_FRAMES) / GROWTH_FRAMES))
