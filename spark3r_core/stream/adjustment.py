"""Keyframes of the map adjusted together: which of them, as what problem, and what is taken of the answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.guard import Verdict, adjust_guarded
from spark3r_core.bundle.problem import Adjusted, Cameras, Observations, PoseFactors
from spark3r_core.bundle.solve import SETTLED
from spark3r_core.bundle.turned_start import turned_start
from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.assumed import NETWORK_FOCAL_SIGMA
from spark3r_core.stream.camera_sizes import focal_of
from spark3r_core.stream.depth_trust import expected_error, trust
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.stream.units import log_units
from spark3r_core.stream.way_agreement import ways_agree

Array = NDArray[np.float64]
Index = NDArray[np.int64]

LOCAL = 8  # keyframes that a local adjustment moves
HELD = 4  # and those that hold it
LEAST_SHARED = 20  # tracks
FOCAL_ABSURD = 0.7  # distance of its logarithm from what the network says, that no network errs by
FOCAL_TOLD = 0.1  # standard deviation from which on parallax tells a focal length that the network is far from
FOCAL_KNOWN = 0.02  # standard deviation from which on a focal length is only refined
DEPENDENT = 3.0  # errors of sightings depend on each other: factor of the standard deviation that they give it
MOST_RESIZED = 2.0  # that one adjustment makes of distances, for them to be kept
UNKNOWN_FOCAL_TRUST = 0.001  # of tracked edges while the focal length that they were tracked with is a guess
PAID = 0.9  # of the held-out error: an adjustment that bends a tracked way, and does not bring it below, trusts them
MOST_TURNED = 12  # keyframes of a map that is adjusted from other turns, too, while its focal length is not known
TURNED_STEPS = 30  # from there it is further
OTHER_FOCALS = (0.8, 1.25)  # networks are up to 40 percent off
LARGE_ERROR, LEAST_REFOCUSED = 0.6, 3  # pixels of 640; keyframes
RIGHTER = 0.75  # of the held-out error, below which what it ends in is believed
LEAST_BEND_POINTS = 30

POINT_PRECISION = 1000.0  # of a triangulated point, against whitened pixels: 0.03 in log depth
SIGHTINGS = 150  # of tracks per keyframe that an adjustment needs; more cost time and say the same


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
    trust = 1.0 if focal_is_known or world.focal_std < FOCAL_KNOWN else UNKNOWN_FOCAL_TRUST
    factors = _factors(world, slots, trust, np.exp(other_units))
    bounds = (iterations, settled, most_error)
    verdict = adjust_guarded(cameras, seen, numbers, factors, picture_hw[1], *bounds)
    turned = False
    if learns_focal and len(held) == 1 and chosen[0] in held and len(chosen) <= MOST_TURNED:
        steps = max(iterations, TURNED_STEPS)
        for wider in focals_to_try(verdict, len(chosen), picture_hw[1]):
            start = turned_start(replace(cameras, focal=wider * cameras.focal), seen)
            other = adjust_guarded(start, seen, numbers, factors, picture_hw[1], steps, *bounds[1:])
            if _is_righter(other, verdict):
                verdict, turned = other, True
    if learns_focal and _ran_away(verdict, prior):
        learns_focal = False
        cameras = replace(cameras, focal=prior, focal_sigma=0.0)
        verdict = adjust_guarded(cameras, seen, numbers, factors, picture_hw[1], *bounds)
    if trust < 1 and not turned and _bends(verdict, cameras, world, slots):
        factors = _factors(world, slots, 1.0, np.exp(other_units))
        verdict = adjust_guarded(cameras, seen, numbers, factors, picture_hw[1], *bounds)
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
    for frame_id, slot_ in slots.items():
        if frame_id in held and len(held) > 1:
            continue
        pose = se3.require_se3(se3.invert(_in_unit(found.cameras.camera_from_world[slot_], 1 / resized)))
        pose[:3, 3] += around
        scale = resized * float(np.exp(found.cameras.log_scale[slot_] + other_units[slot_]))
        after.keyframes[frame_id] = world.keyframes[frame_id].moved(pose, scale)
    return Adjustment(after, verdict, log_depth)


def focals_to_try(plain: Verdict, keyframes: int, width: int) -> tuple[float, ...]:
    """Times the focal length: with which a young map of so many keyframes is adjusted from other turns. Also with
    others than its own where the unseen error is large, as in the valley of a wrong one. width: of the picture."""
    agrees = plain.accepted and plain.after < LARGE_ERROR * width / 640
    return (1.0,) if agrees or keyframes < LEAST_REFOCUSED else (1.0, *OTHER_FOCALS)


def _is_righter(turned: Verdict, plain: Verdict) -> bool:
    """Whether adjustment from other turns ended in a better place, by far: of two valleys that explain the sightings
    about as well, the one where tracking leads is right."""
    return turned.accepted and turned.after < RIGHTER * plain.after


def _bends(verdict: Verdict, before: Cameras, world: KeyframeMap, slots: dict[int, int]) -> bool:
    """Whether an adjustment leads a tracked way elsewhere, and explains sightings hardly better for it.

    With few features on few planes, sightings are explained by many a map; what tracking says decides then.
    """
    if verdict.adjusted is None or not verdict.accepted or verdict.after < PAID * verdict.before:
        return False
    for edge in world.edges:
        if edge.first in slots and edge.second in slots:
            first, second = slots[edge.first], slots[edge.second]
            tracked, adjusted = (_way(cameras, first, second) for cameras in (before, verdict.adjusted.cameras))
            if not ways_agree(tracked, adjusted, float(np.median(world.keyframes[edge.first].depth))):
                return True
    return False


def _way(cameras: Cameras, first: int, second: int) -> Array:
    """(4, 4) first_from_second, in the unit of the first one's depth."""
    way = se3.compose(cameras.camera_from_world[first], se3.invert(cameras.camera_from_world[second]))
    way[:3, 3] /= math.exp(cameras.log_scale[first])
    return way


def _told(posterior: float, prior: float) -> float:
    """Standard deviation of the log focal length that sightings alone give, of what they gave together with a prior."""
    told = posterior**-2 - prior**-2 if 0 < posterior < prior else 0.0
    return DEPENDENT / math.sqrt(told) if told > 0 else math.inf


def _ran_away(verdict: Verdict, prior: float) -> bool:
    """Whether the focal length went where neither the network nor parallax says that it is: in front of a wall."""
    if verdict.adjusted is None:
        return False
    found = verdict.adjusted
    away = abs(math.log(found.cameras.focal / prior))
    return away > FOCAL_ABSURD or (away > NETWORK_FOCAL_SIGMA and DEPENDENT * found.focal_std > FOCAL_TOLD)


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


def sightings_of(
    world: KeyframeMap,
    track: Index,
    keyframe: Index,
    feature: Index,
    slots: dict[int, int],
    picture_hw: tuple[int, int],
) -> tuple[Index, Observations]:
    """(M,) the track of each sighting, the sightings, and (M, 2) where they lie as fractions of the picture.

    Places are pixels from the camera's centre, and square: what the user's camera is not is taken out here.
    """
    _, point = np.unique(track, return_inverse=True)
    pairs = list(zip(keyframe.tolist(), feature.tolist(), strict=True))
    places = np.stack([world.keyframes[k].features.places[f] for k, f in pairs]).astype(np.float64)
    depth = np.array([world.keyframes[k].feature_depth[f] for k, f in pairs])
    slot = np.array([slots[k] for k, _ in pairs], np.int64)
    camera = world.camera_of(picture_hw)
    square = (places - camera[:2, 2]) * (focal_of(camera) / camera[[0, 1], [0, 1]])
    return track, Observations(point.astype(np.int64), slot, square, depth)


def enough(track: Index, keyframe: Index, per_keyframe: int) -> NDArray[np.bool_]:
    """(M,) which sightings are worth their time: the longest tracks, until every keyframe has its share of them."""
    numbers, point, views = np.unique(track, return_inverse=True, return_counts=True)
    order = np.argsort(-views, kind="stable")
    by_point = np.argsort(point, kind="stable")
    starts = np.searchsorted(point[by_point], np.arange(len(numbers) + 1))
    taken = dict.fromkeys(keyframe.tolist(), 0)
    chosen = np.zeros(len(numbers), bool)
    for number in order.tolist():
        seers = keyframe[by_point[starts[number] : starts[number + 1]]].tolist()
        if min(taken[seer] for seer in seers) < per_keyframe:
            chosen[number] = True
            for seer in seers:
                taken[seer] += 1
    return chosen[point]


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


def _factors(world: KeyframeMap, slots: dict[int, int], trust: float, units: Array) -> PoseFactors:
    """trust: of edges that tracking made; what another sensor measured needs no focal length. units: (N,) by slot, in
    which a keyframe's translations are to be given."""
    trusted = [(edge, trust) for edge in world.edges] + [(edge, 1.0) for edge in world.measured]
    trusted = [(edge, share) for edge, share in trusted if edge.first in slots and edge.second in slots]
    if not trusted:
        return PoseFactors.none()
    edges = [edge for edge, _ in trusted]
    first = np.array([slots[edge.first] for edge in edges], np.int64)
    steps = np.stack([edge.second_from_first for edge in edges])
    steps[:, :3, 3] *= units[first, None]
    information = np.stack([edge.information * share for edge, share in trusted])
    information[:, :3] /= units[first, None, None]
    information[:, :, :3] /= units[first, None, None]
    return PoseFactors(first, np.array([slots[edge.second] for edge in edges], np.int64), steps, information)
