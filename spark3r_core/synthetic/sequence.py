"""Ready-made sequences and training batches with exact depth, poses and intrinsics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.se3 import make_pose
from spark3r_core.metric.tags import cells, tag_picture
from spark3r_core.synthetic.augment import augment_images
from spark3r_core.synthetic.movers import walking, with_movers
from spark3r_core.synthetic.paths import make_path, paused_times
from spark3r_core.synthetic.render import lens_rays, render
from spark3r_core.synthetic.tag import PaintedTag, place_on_surface
from spark3r_core.synthetic.world import make_worlds


def intrinsics_from_fov(fov_deg: float, image_hw: tuple[int, int]) -> np.ndarray:
    """3×3 pinhole intrinsics: square pixels, field of view of the longer side, principal point in the centre."""
    height, width = image_hw
    focal = max(height, width) / 2 / np.tan(np.deg2rad(fov_deg) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


class SyntheticSequence:
    """A procedural video with exact ground truth; frames may be asked for in any order."""

    def __init__(
        self,
        seed: int,
        frames: int,
        kind: str = "loop",
        image_hw: tuple[int, int] = (480, 640),
        fov_deg: float = 62.0,
        augment: bool = True,
        world_kind: str | None = None,
        step: float = 1.0,
        pause: int = 0,
        lens: tuple[float, ...] = (),
        fisheye: bool = False,
        tag: float = 0.0,
        tag_at: int = 0,
        span: tuple[float, float] = (0.0, 1.0),
        camera: int = 0,
        movers: int = 0,
        mount: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    ) -> None:
        """`kind` is one of paths.PATH_KINDS, `world_kind` of layout.KINDS or None (the seed decides). `pause`: the
        camera stands still for so many frames in the middle. `lens`, `fisheye`: distortion, see `Intrinsics`; the focal
        length is that of a pinhole of this field of view. `tag`: edge of an AprilTag 36h11:0 where frame `tag_at` shows
        a flat surface; 0: none. `span`: the part of the path of `frames` frames that is shown, from where to where;
        (1, 0) is the way back. `camera`: another one has other exposure and other noise. `movers`: so many things as
        large as a person walk through the world. `mount`: where the camera is on what goes along the path: right, down,
        ahead, and degrees to the right.

        Raises GeometryError for fewer than one frame, an unusable field of view or unknown kinds.
        """
        if frames < 1 or not 5 <= fov_deg <= 150 or min(image_hw) < 1:
            raise GeometryError(
                f"SyntheticSequence: frames={frames}, fov_deg={fov_deg}, image_hw={image_hw}; "
                "expected at least one frame, a field of view of 5 to 150 degrees and a positive size"
            )
        self.seed, self.image_hw, self.augment = seed, image_hw, augment
        self._camera_seed = seed + 7919 * camera
        times = paused_times(frames, pause, step) if pause else None
        self.worlds = make_worlds([seed], kinds=None if world_kind is None else [world_kind])
        if span == (0.0, 1.0):
            self.world_from_camera = make_path(kind, frames, seed, self.worlds, 0, step, times)  # (S, 4, 4) float64
        else:  # the last time says how long the whole path takes
            shown = _spanned(span, frames, pause) * (frames - 1) * step
            whole = np.append(shown, (frames - 1) * step)
            self.world_from_camera = make_path(kind, frames, seed, self.worlds, 0, times=whole)[:-1]
        if any(mount):
            self.world_from_camera = self.world_from_camera @ mounted(mount)
        self.intrinsics = intrinsics_from_fov(fov_deg, image_hw)  # (3, 3) float64, pixels
        pinhole = Intrinsics.from_matrix(self.intrinsics, image_hw[1], image_hw[0])
        self.camera = replace(pinhole, distortion=lens, fisheye=fisheye)
        self._rays = lens_rays(self.camera) if self.camera.is_distorted else None
        self.movers = walking(self.worlds, seed, self.world_from_camera, movers) if movers else None
        self.tag: PaintedTag | None = None
        if tag > 0:
            _, depth = self._rendered(min(tag_at, len(self) - 1))
            pose, pattern = self.world_from_camera[min(tag_at, len(self) - 1)], tag_picture("36h11", 0, cells("36h11"))
            self.tag = place_on_surface(depth[0, 0].numpy(), pose, self.camera, tag, pattern)

    def __len__(self) -> int:
        return len(self.world_from_camera)

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8, z-depth (H, W) float32 (infinite: sky), world_from_camera 4×4, intrinsics 3×3."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a synthetic sequence of {len(self)} frames")
        images, depth = self._rendered(index)
        if self.tag is not None:
            shown = images[0, 0].permute(1, 2, 0).contiguous().numpy()
            self.tag.paint(shown, depth[0, 0].numpy(), self.world_from_camera[index], self.camera)
            images = torch.from_numpy(shown).permute(2, 0, 1)[None, None]
        if self.augment:
            times = torch.tensor([[float(index)]])
            generator = torch.Generator().manual_seed(self._camera_seed)
            images = augment_images(images, generator, times, mild=True, noise_seed=index)
        image = (images[0, 0] * 255).round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        return image, depth[0, 0].numpy(), self.world_from_camera[index].copy(), self.intrinsics.copy()

    def _rendered(self, index: int) -> tuple[Tensor, Tensor]:
        pose = torch.from_numpy(self.world_from_camera[index]).float()[None, None]
        camera = torch.from_numpy(self.intrinsics).float()[None, None]
        worlds = self.worlds if self.movers is None else with_movers(self.worlds, self.movers, index)
        return render(worlds, pose, camera, self.image_hw, rays=self._rays)


def mounted(mount: tuple[float, float, float, float]) -> np.ndarray:
    """rig_from_camera (4, 4) of a camera right, down and ahead of the rig's origin, turned to the right by degrees."""
    turn = exp_so3(np.array([0.0, np.deg2rad(mount[3]), 0.0]))
    return np.asarray(make_pose(turn, np.array(mount[:3])))


def _spanned(span: tuple[float, float], frames: int, pause: int) -> np.ndarray:
    """Shares of the path (S,), evenly from one end of the span to the other."""
    count = round(abs(span[1] - span[0]) * frames)
    if min(span) < 0 or max(span) > 1 or count < 1 or pause:
        raise GeometryError(f"a span {span} of {frames} frames; expected shares of 0 to 1 apart, without a pause")
    return np.linspace(*span, count)


@dataclass(frozen=True)
class TrainingBatch:
    """B sequences of S views. Depth is z-depth (infinite: sky), poses are in the worlds' own frames."""

    images: Tensor  # (B, S, 3, H, W) float32 in [0, 1]
    depth: Tensor  # (B, S, H, W) float32
    world_from_camera: Tensor  # (B, S, 4, 4) float64
    intrinsics: Tensor  # (B, S, 3, 3) float32 pixels
    k1: Tensor  # (B, S) float32, radial distortion of the OpenCV model; depth is exact for the distorted rays

    def to(self, device: str | torch.device) -> TrainingBatch:
        return TrainingBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


PATH_SHARES = {
    "handheld": 0.3,
    "wander": 0.22,
    "robot": 0.12,
    "orbit": 0.12,
    "forward": 0.1,
    "loop": 0.1,
    "still": 0.04,
}
DISTORTED_SHARE = 0.25


def sample_times(
    rng: np.random.Generator, frames: int, spacing: tuple[float, float], revisit_probability: float
) -> np.ndarray:
    """Times (S,) in video frames: steps of spacing[0]…spacing[1], and now and then a return to near an earlier time."""
    low, high = max(spacing[0], 1e-3), max(spacing[1], 1e-3)
    typical = np.exp(rng.uniform(np.log(low), np.log(high)))
    times = [0.0]
    for _ in range(frames - 1):
        if len(times) > 2 and rng.random() < revisit_probability:
            times.append(max(0.0, times[rng.integers(len(times) - 2)] + rng.normal(0, 2.0)))
        else:
            times.append(max(times) + float(np.clip(typical * rng.uniform(0.6, 1.5), low, high)))
    return np.array(times)


def sample_batch(
    seeds: Sequence[int],
    frames: int,
    image_hw: tuple[int, int],
    device: str | torch.device = "cpu",
    spacing: tuple[float, float] = (1.0, 15.0),
    revisit_probability: float = 0.0,
    augment: bool = True,
) -> TrainingBatch:
    """One sequence of `frames` views per seed: its own world, path, field of view (40–90°), lens and degradation.

    `spacing` is the range of video frames (30 fps) between successive views; with `revisit_probability` a view goes
    back to near an earlier one. A quarter of the lenses distort, by at most 2 % at the longer edge; `intrinsics` is
    their pinhole part and `k1` the rest. The same arguments give the same bytes on a CPU.
    """
    worlds = make_worlds(seeds)
    poses, cameras, moments, distortions = [], [], [], []
    for index, seed in enumerate(worlds.seeds):
        rng = np.random.default_rng([31, seed])
        kind = str(rng.choice(list(PATH_SHARES), p=list(PATH_SHARES.values())))
        times = sample_times(rng, frames, spacing, revisit_probability)
        poses.append(make_path(kind, frames, seed, worlds, index, times=times))
        camera = intrinsics_from_fov(rng.uniform(40, 90), image_hw)
        camera[:2, 2] += rng.normal(0, 0.01, 2) * max(image_hw)
        cameras.append(np.tile(camera, (frames, 1, 1)))
        moments.append(times)
        edge = max(image_hw) / 2 / camera[0, 0]
        distortions.append(rng.uniform(-0.02, 0.02) / edge**2 if rng.random() < DISTORTED_SHARE else 0.0)
    world_from_camera = torch.from_numpy(np.stack(poses)).to(device)
    intrinsics = torch.from_numpy(np.stack(cameras)).float().to(device)
    k1 = torch.tensor(distortions, dtype=torch.float32, device=device)[:, None].expand(-1, frames).contiguous()
    images, depth = render(worlds.to(device), world_from_camera, intrinsics, image_hw, k1)
    if augment:
        generator = torch.Generator().manual_seed(sum((k + 1) * seed for k, seed in enumerate(worlds.seeds)))
        images = augment_images(images, generator, torch.from_numpy(np.stack(moments)))
    return TrainingBatch(images, depth, world_from_camera, intrinsics, k1)
