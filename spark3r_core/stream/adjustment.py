"""Keyframes of the map adjusted together: which of them, and what is taken of the answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.guard import Verdict
from spark3r_core.bundle.problem import Adjusted, Cameras
from spark3r_core.bundle.solve import SETTLED
from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.assumed import NETWORK_FOCAL_SIGMA
from spark3r_core.stream.camera_sizes import focal_of
from spark3r_core.stream.depth_trust import expected_error, trust
from spark3r_core.stream.guessed_focal import DEPENDENT, Trial, adjust_guessed
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.stream.map_problem import SIGHTINGS, enough, factors_of, sightings_of
from spark3r_core.stream.units import log_units

Array = NDArray[np.float64]

LOCAL = 8  # keyframes that a local adjustment moves
HELD = 4  # and those that hold it
LEAST_SHARED = 20  # tracks
FOCAL_KNOWN = 0.02  # standard deviation from which on a focal length is only refined
MOST_RESIZED = 2.0  # that one adjustment makes of distances, for them to be kept
LEAST_BEND_POINTS = 30

POINT_PRECISION = 1000.0  # of a triangulated point, against whitened pixels: 0.03 in log depth


@dataclass(frozen=True)
class Adjustment:
    """What came of one adjustment. map: a new map where it was accepted, else the one given."""

    map: KeyframeMap
    verdict: Verdict
    log_depth: dict[int, tuple[Array, Array]]
    """Per keyframe: log of the points' depth over its dense depth's, (n,), and where, fractions (n, 2)."""


def local_set(world: KeyframeMap, frame_id: int) -> tuple[list[int], set[int]]:
    """Keyframes of a local adjustment around one, and which of them are held. A young map is adjusted whole."""
    order = world.order
    if len(order) <= LOCAL + HELD or world.focal_std > FOCAL_KNOWN:
        chosen = order[-3 * LOCAL :]
        return chosen, {chosen[0]}
    near = [other for other, count in world.tracks.shared_by_all([frame_id]).items() if count >= LEAST_SHARED]
    moving = sorted([frame_id, *near[: LOCAL - 1]])
    held = [other for other in world.tracks.shared_by_all(moving) if other not in moving][:HELD]
    if not held:
        held, moving = moving[:1], moving[1:]
    return sorted([*moving, *held]), set(held)


def adjust(
    world: KeyframeMap,
    chosen: Sequence[int],
    held: Collection[int],
    picture_hw: tuple[int, int],
    *,
    focal_is_known: bool,
    iterations: int = 6,
    settled: float = SETTLED,
    sightings: int = SIGHTINGS,
    most_error: float = math.inf,
) -> Adjustment:
    """Adjust the chosen keyframes; those held, and the map's fixed ones, stay. Where a single one is held, sightings
    leave the scale open: it is chosen so that distances from there stay what they were, since they were published.
    most_error: see `bundle.solve`.
    """
    held = {*held, *(world.fixed & set(chosen))}
    if len(held) == len(chosen):
        return Adjustment(world, Verdict(None, False, math.nan, math.nan, "nothing may move"), {})
    slots = {frame_id: slot for slot, frame_id in enumerate(chosen)}
    track, keyframe, feature = world.tracks.seen_by(chosen, 2)
    if not len(track):
        return Adjustment(world, Verdict(None, False, math.nan, math.nan, "no tracks"), {})
    rows = enough(track, keyframe, sightings)
    numbers, seen = sightings_of(world, track[rows], keyframe[rows], feature[rows], slots, picture_hw)
    keyframes = [world.keyframes[frame_id] for frame_id in chosen]
    prior, sigma = world.focal, 0.0
    learns_focal = not focal_is_known and world.focal_std > FOCAL_KNOWN
    if learns_focal:  # all that is known is what the network said
        prior, sigma = float(np.median(world.network_focals)), NETWORK_FOCAL_SIGMA / DEPENDENT
    elif not focal_is_known:
        prior, sigma = world.settled_focal, FOCAL_KNOWN
    unit = float(np.exp(np.mean([np.log(world.keyframes[frame_id].scale) for frame_id in held])))
    other_units = log_units(world, chosen, unit)  # taken out: adjustment expects units that are alike
    seen = replace(seen, depth=seen.depth * np.exp(other_units[seen.slot]))
    cameras = Cameras(
        np.stack([_in_unit(se3.invert(keyframe.world_from_camera), unit) for keyframe in keyframes]),
        np.log([keyframe.scale / unit for keyframe in keyframes]) - other_units,
        np.array([frame_id in held for frame_id in chosen]),
        world.focal,
        prior,
        sigma,
        np.zeros(2),
    )
    units = np.exp(other_units)
    trial = Trial(seen, numbers, picture_hw[1], iterations, settled, most_error)
    if learns_focal:
        verdict, learns_focal = adjust_guessed(trial, cameras, world, slots, units)
    else:
        verdict = trial.from_start(cameras, factors_of(world, slots, units, 1.0))
    if not verdict.accepted or verdict.adjusted is None:
        return Adjustment(world, verdict, {})
    found = verdict.adjusted
    after = replace(world, keyframes=dict(world.keyframes), focal=found.cameras.focal)
    if learns_focal:
        after.focal_std = min(DEPENDENT * found.focal_std, NETWORK_FOCAL_SIGMA)
        after.settled_focal = after.focal if after.focal_std <= FOCAL_KNOWN else 0.0
    elif not focal_is_known:
        after.focal_std = min(world.focal_std, _told(found.focal_std, sigma))
    log_depth = _log_depths(chosen, found, world.camera_of(picture_hw), picture_hw)
    resized = unit * (_resized(cameras, found.cameras) if len(held) == 1 else 1.0)
    around = world.keyframes[min(held)].world_from_camera[:3, 3] * (1 - resized / unit)  # it grows from there
    for frame_id, slot in slots.items():
        if frame_id in held and len(held) > 1:
            continue
        pose = se3.require_se3(se3.invert(_in_unit(found.cameras.camera_from_world[slot], 1 / resized)))
        pose[:3, 3] += around
        scale = resized * float(np.exp(found.cameras.log_scale[slot] + other_units[slot]))
        after.keyframes[frame_id] = world.keyframes[frame_id].moved(pose, scale)
    return Adjustment(after, verdict, log_depth)


def _told(posterior: float, prior: float) -> float:
    """Standard deviation of the log focal length that sightings alone give, of what they gave together with a prior."""
    told = posterior**-2 - prior**-2 if 0 < posterior < prior else 0.0
    return DEPENDENT / math.sqrt(told) if told > 0 else math.inf


def _in_unit(camera_from_world: Array, unit: float) -> Array:
    """(4, 4) with the translation in a unit of so many map units."""
    pose = camera_from_world.copy()
    pose[:3, 3] /= unit
    return pose


def _resized(before: Cameras, after: Cameras) -> float:
    """By which factor distances from the held keyframe are to grow to be what they were (least squares).

    The newest keyframe, where there are others, has no say: nothing but tracking has placed it yet.
    """
    centres = [se3.invert(cameras.camera_from_world)[:, :3, 3] for cameras in (before, after)]
    placed = slice(None) if len(before.fixed) < 3 else slice(-1)
    from_held = [centre[placed] - centre[np.argmax(before.fixed)] for centre in centres]
    size = float(np.square(from_held[1]).sum())
    factor = float((from_held[0] * from_held[1]).sum()) / size if size > 0 else 1.0
    return factor if 1 / MOST_RESIZED < factor < MOST_RESIZED else 1.0


def bent(keyframe: Keyframe, log_ratio: Array, fractions: Array) -> tuple[Keyframe, Array | None]:
    """A keyframe whose dense depth goes through its sparse points: a smooth correction, and its share in the scale; its
    confidence is less the further they are. And how well they know each node of `depth_grid` (NODES, NODES); None
    where they are too few, and nothing is bent."""
    if len(log_ratio) < LEAST_BEND_POINTS:
        return keyframe, None
    log_scale, nodes, counts = depth_grid.fit(log_ratio, fractions)
    factors = depth_grid.factors(nodes, *keyframe.depth.shape) * np.float32(math.exp(log_scale))
    u, v = np.clip(keyframe.features.places / _size(keyframe), 0, 1).astype(np.float64).T
    at_features = np.exp(depth_grid.weights_numpy(u, v).astype(np.float64) @ nodes + log_scale)
    after = replace(
        keyframe,
        depth=keyframe.depth * factors,
        confidence=keyframe.confidence * trust(expected_error(fractions, keyframe.depth.shape)),
        feature_depth=keyframe.feature_depth * at_features,
    )
    return after, POINT_PRECISION * counts


def _size(keyframe: Keyframe) -> Array:
    """(2,) width and height of the picture, by the size of its depth map."""
    height, width = keyframe.depth.shape
    return keyframe.picture_from_depth[[0, 1], [0, 1]] * np.array([width, height])


def _log_depths(
    chosen: Sequence[int], found: Adjusted, camera: Array, picture_hw: tuple[int, int]
) -> dict[int, tuple[Array, Array]]:
    """camera: (3, 3) by which places were made square, see `sightings_of`."""
    seen, poses = found.observations, found.cameras.camera_from_world
    views = np.bincount(seen.point, minlength=seen.count)
    z = np.einsum("mj,mj->m", poses[seen.slot, 2, :3], found.points[seen.point]) + poses[seen.slot, 2, 3]
    pixels = seen.places * camera[[0, 1], [0, 1]] / focal_of(camera) + camera[:2, 2]
    fractions = np.clip(pixels / np.array([picture_hw[1], picture_hw[0]], np.float64), 0, 1)
    result = {}
    for slot, frame_id in enumerate(chosen):
        rows = (seen.slot == slot) & (views[seen.point] >= 3) & (z > 0) & np.isfinite(seen.depth)
        ratio = np.log(z[rows] / (seen.depth[rows] * np.exp(found.cameras.log_scale[slot])))
        result[frame_id] = (ratio, fractions[rows])
    return result
