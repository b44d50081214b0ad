"""Losses of the bundled network: pose, relative pose, depth, confidence and the auxiliary dense targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.training.matching import PatchMatches, patch_centres
from tools.training.window import Window

CONFIDENCE_ALPHA = 1.0  # log-depth error at which confidence is worth nothing: DA3 confidences start at 1
FAR = 30.0  # gauge units; beyond, depth is supervised as this far
FULL_OVERLAP = 0.3  # share of a frame's patches seen in the other frame from which on its pose counts fully
BLIND_WEIGHT = 0.1


@dataclass(frozen=True)
class Weights:
    """Chosen by the gradients they cause in the trunk: with attention at 1 its gradient was a tenth of the poses',
    whose noise then drowned it (docs/bundled_model.md).
    """

    rotation: float = 6.0
    translation: float = 3.0
    direction: float = 1.0
    fov: float = 1.5
    fov_together: float = 0.0
    relative: float = 1.0
    depth: float = 1.5
    shape: float = 0.0
    gradient: float = 1.0
    confidence: float = 0.05
    attention: float = 5.0
    fetch: float = 1.5
    position: float = 4.0
    flow: float = 4.0  # carries the fractions of a patch that translations are made of
    rays: float = 3.0


# With a tracker in front: depth up to a scale, which sparse points settle, and the lens; poses as far as not to lose
# them. The trunk's matching is not trained. With fov at 3 and shape at 2.5 the trunk's gradient of fields of view was
# four times that of depth.
KEYFRAME_WEIGHTS = Weights(
    rotation=2.0,
    translation=1.0,
    direction=0.3,
    fov=1.5,
    fov_together=1.0,
    depth=2.0,
    shape=6.0,
    gradient=6.0,
    confidence=0.3,
)


def rotation_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle in radians between rotations (..., 3, 3) for small ones; 2 sqrt(2) sin(angle / 2) / sqrt(2) in general.

    The chordal distance has a gradient of constant size, like an L1 loss, and no arc cosine to differentiate.
    """
    return ((a - b).square().sum((-1, -2)) + 1e-8).sqrt() / 2**0.5


def rotation_degrees(a: Tensor, b: Tensor) -> Tensor:
    """Exact angle in degrees between rotations (..., 3, 3)."""
    chord = (a - b).double().square().sum((-1, -2)).sqrt() / (2 * 2**0.5)
    return torch.rad2deg(2 * torch.asin(chord.clamp(max=1.0))).float()


def relative_poses(world_from_camera: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Rotation (B, P, 3, 3) and translation (B, P, 3) of camera j in camera i, for pairs (i, j)."""
    first = world_from_camera[:, [i for i, _ in pairs]]
    second = world_from_camera[:, [j for _, j in pairs]]
    back = first[..., :3, :3].transpose(-1, -2)
    shift = second[..., :3, 3] - first[..., :3, 3]
    return back @ second[..., :3, :3], (back @ shift[..., None])[..., 0]


def translation_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Distance over (0.2 + true length): short baselines count, still cameras stay bounded."""
    distance = ((predicted - true).square().sum(-1) + 1e-6).sqrt()
    return distance / (0.2 + true.norm(dim=-1))


def direction_error(predicted: Tensor, true: Tensor) -> Tensor:
    """1 - cosine of the angle between translations; pairs that hardly move count less.

    The distance alone leaves a network that is unsure at zero length, where it learns little. This pulls with
    1 / length, so a short prediction grows as soon as it points anywhere; 0.05 keeps the pull finite.
    """
    length = true.norm(dim=-1)
    cosine = (predicted * true).sum(-1) / ((predicted.norm(dim=-1) + 0.05) * (length + 1e-6))
    return (1 - cosine) * (length / 0.05).clamp(max=1.0)


def pose_losses(
    world_from_camera: Tensor, fov: Tensor, window: Window, matches: PatchMatches | None
) -> dict[str, Tensor]:
    """Errors of poses (B, S, 4, 4) against frame 0 and along pairs, and of fields of view (B, S, 2) in radians.

    Frames and pairs that share few patches count less: what cannot be seen can only be guessed, and its error would
    drown that of the rest.
    """
    true = window.world_from_camera
    frame_share = torch.ones(true.shape[:2], device=true.device)
    if matches is not None:
        pair_share = (matches.valid.float().mean(-1) / FULL_OVERLAP).clamp(BLIND_WEIGHT, 1.0)  # (B, P)
        chosen = [p for p, (_, j) in enumerate(matches.pairs) if j == 0]
        frame_share[:, [matches.pairs[p][0] for p in chosen]] = pair_share[:, chosen]

    def mean(error: Tensor, share: Tensor) -> Tensor:
        return (error * share).sum() / share.sum()

    losses = {
        "rotation": mean(rotation_distance(world_from_camera[..., :3, :3], true[..., :3, :3]), frame_share),
        "translation": mean(translation_error(world_from_camera[..., :3, 3], true[..., :3, 3]), frame_share),
        "direction": mean(direction_error(world_from_camera[..., :3, 3], true[..., :3, 3]), frame_share),
        "fov": (fov - true_fov(window)).abs().mean(),
        "fov_together": focal_together(fov, window),
    }
    if matches is not None:
        rotation, translation = relative_poses(world_from_camera, matches.pairs)
        rotation_true, translation_true = relative_poses(true, matches.pairs)
        losses["relative_rotation"] = mean(rotation_distance(rotation, rotation_true), pair_share)
        losses["relative_direction"] = mean(direction_error(translation, translation_true), pair_share)
        losses["relative_translation"] = mean(translation_error(translation, translation_true), pair_share)
    return losses


def true_fov(window: Window) -> Tensor:
    """(B, S, 2): vertical, horizontal field of view in radians."""
    height, width = window.images.shape[-2:]
    fy, fx = window.intrinsics[..., 1, 1], window.intrinsics[..., 0, 0]
    return torch.stack([2 * torch.atan(height / (2 * fy)), 2 * torch.atan(width / (2 * fx))], -1)


def focal_together(fov: Tensor, window: Window) -> Tensor:
    """Error of the log focal length that all frames of a window say together: what a stream uses is their middle."""
    found, true = ((0.5 * angle.clamp(0.05, 3.0)).tan().log().mean((1, 2)) for angle in (fov, true_fov(window)))
    return (found - true).abs().mean()


def depth_losses(predicted: Tensor, confidence: Tensor, depth: Tensor) -> dict[str, Tensor]:
    """L1 in log depth, the same after one scale per map ("shape"), its gradient, and a confidence; inputs (N, H, W).

    `confidence` is c = 1 + exp(raw). It minimises c e - alpha log c for the error e of the shape as it is (not
    differentiated through), so that it is calibrated without bending the depth; sky is given none. The scale is left
    out because sparse points settle it, whatever the network says.
    """
    solid = torch.isfinite(depth) & (depth > 0)
    target = torch.where(solid, depth, 1.0).clamp(1e-3, FAR).log()
    residual = torch.where(solid, predicted.clamp_min(1e-6).log() - target, 0.0)
    count = solid.sum().clamp_min(1)
    error = residual.abs()
    shift = torch.where(solid, residual.detach(), torch.nan).flatten(1).nanmedian(1).values.nan_to_num(0.0)
    shape = torch.where(solid, residual - shift[:, None, None], 0.0).abs()
    told = torch.where(solid, confidence * shape.detach() - CONFIDENCE_ALPHA * confidence.log(), 0.0).sum() / count
    sky = torch.where(solid, 0.0, (confidence - 1).clamp(max=20.0)).mean()
    return {
        "depth": error.sum() / count,
        "shape": shape.sum() / count,
        "gradient": 0.5 * (_gradient(residual, solid, -1) + _gradient(residual, solid, -2)),
        "confidence": told + sky,
    }


def _gradient(residual: Tensor, solid: Tensor, dim: int, step: int = 2) -> Tensor:
    """Mean change of the residual over `step` pixels: edges and slopes right, whatever the scale error."""
    size = residual.shape[dim] - step
    both = solid.narrow(dim, 0, size) & solid.narrow(dim, step, size)
    change = (residual.narrow(dim, step, size) - residual.narrow(dim, 0, size)).abs().clamp(max=1.0)
    return torch.where(both, change, 0.0).sum() / both.sum().clamp_min(1)


def flow_loss(predicted: Tensor, matches: PatchMatches, patch: int) -> Tensor:
    """Where each patch is seen in frame 0, in patches, Huber; predicted: (B, S, N, 2) offset from where it is."""
    chosen = [p for p, (i, j) in enumerate(matches.pairs) if j == 0]
    frames = [matches.pairs[p][0] for p in chosen]
    if not chosen:
        return predicted.sum() * 0.0
    offset = matches.uv[:, chosen] / patch - matches.centres
    valid = matches.valid[:, chosen]
    error = torch.nn.functional.smooth_l1_loss(
        predicted[:, frames], torch.where(valid[..., None], offset, 0.0), beta=0.25, reduction="none"
    ).sum(-1)
    return (error * valid).sum() / valid.sum().clamp_min(1) * 0.25


def ray_targets(window: Window, patch: int) -> Tensor:
    """(B, S, N, 6): direction (unit z in camera, turned into the world) and origin of each patch centre's ray."""
    height, width = window.images.shape[-2:]
    row, column = patch_centres(height, width, patch, window.images.device)
    k = window.intrinsics
    x = (column + 0.5 - k[..., 0, 2, None]) / k[..., 0, 0, None]
    y = (row + 0.5 - k[..., 1, 2, None]) / k[..., 1, 1, None]
    local = torch.stack([x, y, torch.ones_like(x)], -1)
    direction = local @ window.world_from_camera[..., :3, :3].transpose(-1, -2)
    origin = window.world_from_camera[..., None, :3, 3].expand_as(direction)
    return torch.cat([direction, origin], -1)


def ray_loss(predicted: Tensor, window: Window, patch: int) -> Tensor:
    """L1 of the rays each patch predicts (B, S, N, 6): pose supervision at every token (DA3's ray maps)."""
    error = (predicted - ray_targets(window, patch)).abs()
    length = window.world_from_camera[..., :3, 3].norm(dim=-1)[..., None, None]
    return error[..., :3].mean() + (error[..., 3:] / (0.2 + length)).mean()
