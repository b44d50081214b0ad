"""A network of the bundled kind that trains within a test, and streams that need no renderer."""

from __future__ import annotations

from dataclasses import replace

import torch

from spark3r_core.models.bundled import BUNDLED_CONFIG, build_bundled
from tools.training.trainer import TrainConfig, Trainer
from tools.training.window import Window

TINY = replace(
    BUNDLED_CONFIG,
    embed_dim=64,
    depth=6,
    num_heads=2,
    out_layers=(1, 2, 3, 5),
    head_features=8,
    head_out_channels=(8, 8, 8, 8),
    img_size=96,
)
IMAGE_HW = (72, 96)


def tiny_trainer(**settings: object) -> Trainer:
    torch.manual_seed(0)
    defaults = {"warmup_steps": 10, "frames_per_batch": 16, "autocast": False, "queries": 48, "learning_rate": 2e-3}
    return Trainer(build_bundled(TINY), TrainConfig(**{**defaults, **settings}))


def sliding(batch: int, frames: int) -> Window:
    """Cameras that slide along a wall 2 units away, a tenth of a unit per frame; the pictures are noise."""
    height, width = IMAGE_HW
    generator = torch.Generator().manual_seed(batch * 100 + frames)
    pose = torch.eye(4).repeat(batch, frames, 1, 1)
    pose[..., 0, 3] = 0.1 * torch.arange(frames)
    intrinsics = torch.tensor([[80.0, 0, width / 2], [0, 80.0, height / 2], [0, 0, 1]]).repeat(batch, frames, 1, 1)
    images = torch.rand(batch, frames, 3, height, width, generator=generator)
    return Window(images, torch.full((batch, frames, height, width), 2.0), pose, intrinsics)
