"""Numbers on worlds that are never trained on, with the averaged weights: pairs, and windows of six frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from spark3r_core.attention.plan import Dense
from tools.training.curriculum import ASPECTS
from tools.training.losses import rotation_degrees, true_fov
from tools.training.pool import render_sequences
from tools.training.trainer import Trainer, pose_matrix
from tools.training.window import Window, to_gauge

WORLDS = 24
FRAMES = 6


def validation_window(cache: Path | None, worlds: int = WORLDS, frames: int = FRAMES) -> Window:
    """Rendered validation sequences at 4:3 in the gauge, (worlds, frames, ...); kept in `cache`."""
    if cache is not None and cache.exists():
        return Window(*torch.load(cache, weights_only=True))
    from spark3r_core.synthetic.seeds import VALIDATION

    rendered = [
        sequence
        for index in range(0, worlds, 2)
        for sequence in render_sequences([VALIDATION.start + index + i for i in range(2)], ASPECTS[0], frames)
    ]
    images, depth, poses, intrinsics = (
        torch.stack([torch.from_numpy(part) for part in column]) for column in zip(*rendered, strict=True)
    )
    window = to_gauge(Window(images.float() / 255.0, depth.float(), poses, intrinsics))
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save((window.images, window.depth, window.world_from_camera, window.intrinsics), cache)
    return window


@contextmanager
def averaged(trainer: Trainer) -> Iterator[nn.Module]:
    """A copy of the model with the EMA weights, in evaluation mode."""
    model = type(trainer.model)(trainer.model.config).to(trainer.device)
    model.load_state_dict(trainer.ema.shadow)
    yield model.eval()


@torch.no_grad()
def validate(trainer: Trainer, window: Window, chunk: int = 6) -> dict[str, float]:
    """Errors of pairs (frames 0, 1) and of whole windows; medians over frames 1…, AbsRel after one scale per window."""
    rows: dict[str, list[Tensor]] = {}
    with averaged(trainer) as model:
        for name, frames in (("pair", 2), ("window", window.frames)):
            for start in range(0, window.images.shape[0], chunk):
                part = Window(*(t[start : start + chunk, :frames] for t in vars(window).values()))
                part = part.to(trainer.device)
                for key, value in _errors(model, part).items():
                    rows.setdefault(f"{name}_{key}", []).append(value.cpu().flatten())
    return {name: float(torch.cat(values).median()) for name, values in rows.items()}


def _errors(model: nn.Module, window: Window) -> dict[str, Tensor]:
    decoded = model.decode(model.encode(window.images), Dense(), reference=0)
    prediction = model.predict(decoded)
    encoding = decoded.pose.float()
    pose, true = pose_matrix(encoding), window.world_from_camera
    relative = torch.linalg.inv(pose[:, :1]) @ pose[:, 1:]
    still = torch.eye(3, device=true.device).expand_as(true[:, 1:, :3, :3])
    shift = true[:, 1:, :3, 3]
    cosine = torch.nn.functional.cosine_similarity(relative[..., :3, 3], shift, dim=-1)
    moved = shift.norm(dim=-1) > 0.01
    depth, truth = prediction.depth.flatten(1), window.depth.flatten(1)
    solid = torch.isfinite(truth) & (truth > 0)
    ratio = torch.where(solid, truth / depth, torch.nan)
    scale = ratio.nanmedian(1, keepdim=True).values
    scaled = torch.where(solid, (depth * scale / truth - 1).abs(), torch.nan)
    return {
        "degrees": rotation_degrees(relative[..., :3, :3], true[:, 1:, :3, :3]),
        "degrees_still": rotation_degrees(still, true[:, 1:, :3, :3]),
        "shift": ((relative[..., :3, 3] - shift).norm(dim=-1) / shift.norm(dim=-1).clamp_min(1e-6))[moved],
        "direction": torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))[moved],
        "abs_rel": scaled.nanmean(1),
        "scale": scale.log().abs(),
        "fov": (encoding[..., 7:9] / true_fov(window) - 1).abs(),
    }
