"""Numbers on worlds that are never trained on, with the averaged weights: pairs, windows of six frames, and streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spark3r_core.attention.plan import Dense
from spark3r_core.models.da3 import DA3
from tools.training.curriculum import ASPECTS
from tools.training.losses import rotation_degrees, true_fov
from tools.training.objective import pose_matrix
from tools.training.pool import SEQUENCE_FRAMES, render_sequences
from tools.training.schedule import Schedule, cut
from tools.training.streamed import SupervisedStream, decode_window
from tools.training.trainer import Trainer
from tools.training.window import Window, to_gauge

WORLDS = 24
FRAMES = 6
STREAM_WORLDS = 8
STREAM_SIZES = (4, 4, 4)  # new frames per window, anchor and newest frame run again with them
STREAM_PAGES = 6  # half of the stream, so that what is measured includes forgetting


@dataclass(frozen=True)
class HeldOut:
    """Sequences in the gauge of their first frame, (worlds, frames, ...): windows for pairs too, and longer streams."""

    windows: Window
    streams: Window

    @staticmethod
    def kept_in(folder: Path) -> HeldOut:
        """Rendered once, then read from `folder`."""
        streams = validation_window(folder / "validation_streams.pt", STREAM_WORLDS, SEQUENCE_FRAMES)
        return HeldOut(validation_window(folder / "validation.pt"), streams)


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
def averaged(trainer: Trainer) -> Iterator[DA3]:
    """A copy of the model with the EMA weights, in evaluation mode."""
    model = type(trainer.model)(trainer.model.config).to(trainer.device)
    model.load_state_dict(trainer.ema.shadow)
    yield model.eval()


@torch.no_grad()
def validate(trainer: Trainer, held_out: HeldOut, chunk: int = 6) -> dict[str, float]:
    """Errors of pairs (frames 0, 1), of whole windows, and of streams run window by window.

    Medians over frames 1… and worlds, in the gauge of frame 0; AbsRel after one scale per window.
    """
    rows: dict[str, list[Tensor]] = {}

    def add(name: str, errors: dict[str, Tensor]) -> None:
        for key, value in errors.items():
            rows.setdefault(f"{name}_{key}", []).append(value.cpu().flatten())

    schedule = cut(STREAM_SIZES, STREAM_PAGES)
    with averaged(trainer) as model:
        for name, frames in (("pair", 2), ("window", held_out.windows.frames)):
            for part in _chunks(held_out.windows.of_frames(range(frames)), chunk):
                add(name, _errors(model, part.to(trainer.device)))
        for part in _chunks(held_out.streams, chunk):
            stream = part.to(trainer.device)
            pose = pose_matrix(stream_poses(model, stream.images, schedule))
            add("stream", _pose_errors(pose, stream.world_from_camera))
    return {name: float(torch.cat(values).median()) for name, values in rows.items()}


def _chunks(window: Window, size: int) -> Iterator[Window]:
    for start in range(0, window.images.shape[0], size):
        yield Window(*(t[start : start + size] for t in vars(window).values()))


def stream_poses(model: DA3, images: Tensor, schedule: Schedule) -> Tensor:
    """Pose encodings (B, S, 9) of images (B, S, 3, H, W), each from the window in which its frame was new."""
    encoded, plan = model.encode(images), SupervisedStream(schedule)
    poses = []
    for window in schedule.windows:
        decoded = decode_window(model, encoded, window, plan)
        poses.append(decoded.pose[:, len(window.support) :].float())
    return torch.cat(poses, 1)


def _errors(model: DA3, window: Window) -> dict[str, Tensor]:
    decoded = model.decode(model.encode(window.images), Dense(), reference=0)
    prediction = model.predict(decoded)
    encoding = decoded.pose.float()
    depth, truth = prediction.depth.flatten(1), window.depth.flatten(1)
    solid = torch.isfinite(truth) & (truth > 0)
    ratio = torch.where(solid, truth / depth, torch.nan)
    scale = ratio.nanmedian(1, keepdim=True).values
    scaled = torch.where(solid, (depth * scale / truth - 1).abs(), torch.nan)
    return {
        **_pose_errors(pose_matrix(encoding), window.world_from_camera),
        "abs_rel": scaled.nanmean(1),
        "scale": scale.log().abs(),
        "fov": (encoding[..., 7:9] / true_fov(window) - 1).abs(),
    }


def _pose_errors(pose: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Against frame 0, of world_from_camera (B, S, 4, 4): degrees, shift over true length, direction in degrees."""
    relative = torch.linalg.inv(pose[:, :1]) @ pose[:, 1:]
    still = torch.eye(3, device=true.device).expand_as(true[:, 1:, :3, :3])
    shift = true[:, 1:, :3, 3]
    cosine = torch.nn.functional.cosine_similarity(relative[..., :3, 3], shift, dim=-1)
    moved = shift.norm(dim=-1) > 0.01
    return {
        "degrees": rotation_degrees(relative[..., :3, :3], true[:, 1:, :3, :3]),
        "degrees_still": rotation_degrees(still, true[:, 1:, :3, :3]),
        "shift": ((relative[..., :3, 3] - shift).norm(dim=-1) / shift.norm(dim=-1).clamp_min(1e-6))[moved],
        "direction": torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))[moved],
    }
