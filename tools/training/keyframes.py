"""Views as the mapper sees them: keyframes that the tracker's rule picks from a dense path, in worlds of every kind.

What `sample_batch` draws are neighbours of a video. A network behind a tracker is shown keyframes instead: a fifth of
the depth or twenty degrees apart, indoors and outdoors, by any lens, and it must not rely on sizes of textures.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from spark3r_core.stream.keyframe_choice import KeyframeRule
from spark3r_core.synthetic.augment import augment_images
from spark3r_core.synthetic.paths import make_path
from spark3r_core.synthetic.render import render
from spark3r_core.synthetic.sequence import TrainingBatch, intrinsics_from_fov
from spark3r_core.synthetic.world import Worlds, make_worlds

KIND_SHARES = {"room": 0.34, "corridor": 0.08, "court": 0.1, "plain_room": 0.06, "street": 0.22, "terrace": 0.2}
PATH_SHARES = {"handheld": 0.36, "wander": 0.2, "robot": 0.08, "orbit": 0.18, "forward": 0.1, "loop": 0.08}
FOV_DEG = (30.0, 110.0)  # of the longer side
FOV_BEFORE_DEG = (40.0, 90.0)
DISTORTED_SHARE, DISTORTION = 0.3, 0.04  # at the middle of the longer edge
RETURN_SHARE = 0.25  # of paths that lead back the way they came
DENSE_STEP, DENSE_STEPS = 4.0, 400  # video frames from pose to pose, and the poses a path has at most
LOOK_HW = 12  # rows or columns, whichever are fewer, of the depth that overlaps are judged by


def keyframe_batch(seed: int, frames: int, image_hw: tuple[int, int], *, as_before: bool = False) -> TrainingBatch:
    """One sequence of `frames` keyframes, (1, frames, ...): its own world, path, lens, light and degradation.

    Field of view 30 to 110 degrees with equal shares. A path on which the rule finds fewer keyframes is filled up with
    poses between them. as_before: worlds, light and fields of view are those that `sample_batch` draws; only the choice
    of views differs. The same arguments give the same bytes.
    """
    rng = np.random.default_rng([41, seed])
    kind = str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
    worlds = make_worlds([seed]) if as_before else varied(make_worlds([seed], kinds=[kind]), rng)
    camera = intrinsics_from_fov(rng.uniform(*(FOV_BEFORE_DEG if as_before else FOV_DEG)), image_hw)
    camera[:2, 2] += rng.normal(0, 0.01, 2) * max(image_hw)
    edge = max(image_hw) / 2 / camera[0, 0]
    k1 = rng.uniform(-DISTORTION, DISTORTION) / edge**2 if rng.random() < DISTORTED_SHARE else 0.0
    path = str(rng.choice(list(PATH_SHARES), p=list(PATH_SHARES.values())))
    dense = make_path(path, DENSE_STEPS, seed, worlds, 0, step=DENSE_STEP)
    if rng.random() < RETURN_SHARE:
        turn = int(rng.integers(DENSE_STEPS // 10, DENSE_STEPS // 2))
        dense = np.concatenate([dense[:turn], dense[turn - 2 :: -1]])
    chosen = choose_keyframes(worlds, dense, camera, image_hw, frames, rng)
    poses = torch.from_numpy(dense[chosen])[None]
    intrinsics = torch.from_numpy(camera).float().expand(1, frames, 3, 3).contiguous()
    distortion = torch.full((1, frames), k1, dtype=torch.float32)
    images, depth = render(worlds, poses, intrinsics, image_hw, distortion)
    times = torch.from_numpy(chosen * DENSE_STEP)[None]
    images = augment_images(images, torch.Generator().manual_seed(seed), times)
    return TrainingBatch(images, depth, poses, intrinsics, distortion)


def choose_keyframes(
    worlds: Worlds,
    dense: np.ndarray,
    camera: np.ndarray,
    image_hw: tuple[int, int],
    frames: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Indices (frames,), ascending, into `dense` poses (n, 4, 4) of the only world.

    Each is the first that `KeyframeRule` would map after the one before, judged by true depth; for each pair its bounds
    are scaled by 0.7 to 1.5, as depth that is wrong does. Poses between are drawn where that gives too few.
    """
    rule = KeyframeRule()
    chosen = [0]
    while len(chosen) < frames and chosen[-1] + 1 < len(dense):
        patience = float(np.exp(rng.uniform(np.log(0.7), np.log(1.5))))
        later = dense[chosen[-1] + 1 :]
        overlap, distance, turn = _relation(worlds, dense[chosen[-1]], later, camera, image_hw)
        lost = overlap < 1 - patience * (1 - rule.least_overlap)
        mapped = np.flatnonzero(lost | (distance > patience * rule.most_distance) | (turn > patience * rule.most_turn))
        if not len(mapped):
            break
        chosen.append(chosen[-1] + 1 + int(mapped[0]))
    free = np.setdiff1d(np.arange(len(dense)), chosen)
    return np.sort(np.concatenate([chosen, rng.choice(free, frames - len(chosen), replace=False)]).astype(int))


def _relation(
    worlds: Worlds, keyframe: np.ndarray, others: np.ndarray, camera: np.ndarray, image_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each other pose (n, 4, 4) to the keyframe (4, 4): share of its solid points in view, distance in its median
    depths, turn in degrees."""
    shrink = LOOK_HW / min(image_hw)
    small_hw = (round(image_hw[0] * shrink), round(image_hw[1] * shrink))
    small = camera * [[shrink], [shrink], [1.0]]
    view = torch.from_numpy(keyframe)[None, None], torch.from_numpy(small).float()[None, None]
    depth = render(worlds, *view, small_hw)[1][0, 0].double().numpy()
    v, u = np.meshgrid(np.arange(small_hw[0]) + 0.5, np.arange(small_hw[1]) + 0.5, indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(small).T
    solid = np.isfinite(depth)
    moved = np.linalg.inv(others) @ keyframe
    cosine = (np.trace(moved[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    turn = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    if not solid.any():
        return np.ones(len(others)), np.zeros(len(others)), turn
    points = rays[solid] * depth[solid][:, None]
    seen = np.einsum("nij,pj->npi", moved[:, :3, :3], points) + moved[:, None, :3, 3]
    pixel = seen @ small.T
    with np.errstate(divide="ignore", invalid="ignore"):
        place = pixel[..., :2] / pixel[..., 2:]
    inside = (pixel[..., 2] > 0) & (place >= 0).all(-1) & (place < [small_hw[1], small_hw[0]]).all(-1)
    return inside.mean(1), np.linalg.norm(moved[:, :3, 3], axis=1) / np.median(depth[solid]), turn


def varied(worlds: Worlds, rng: np.random.Generator) -> Worlds:
    """The same things with textures of other sizes and, in half of all worlds, under harder light."""
    material = worlds.material.clone()
    spread = rng.choice([0.0, 0.5, 1.0])  # what a texture's size says of distance: much, little, nothing
    factor = np.exp(spread * rng.normal(0, 1, material.shape[:2])).clip(0.15, 6.0)
    material[..., 1] *= torch.from_numpy(factor).float()
    material[..., 3] *= torch.from_numpy(factor).float()
    if rng.random() < 0.5:
        return replace(worlds, material=material)
    return replace(
        worlds,
        material=material,
        ambient=worlds.ambient * float(rng.uniform(0.4, 0.9)),
        sun_colour=worlds.sun_colour * float(rng.uniform(0.8, 2.0)),
        lamp_colour=worlds.lamp_colour * float(rng.uniform(0.5, 2.0)),
        shadow_depth=torch.where(worlds.shadow_depth > 0, float(rng.uniform(0.7, 1.0)), worlds.shadow_depth),
    )
