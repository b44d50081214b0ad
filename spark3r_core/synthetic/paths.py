"""Camera paths through a world: smooth, collision-free, paced like a 30 fps video.

A path is a function of time in video frames; `step` or `times` says where it is sampled. Positions come from a few control points
that are steered through free space and joined by a uniform cubic B-spline, or from closed curves (orbit, loop).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.synthetic.distance import WorldDistance
from spark3r_core.synthetic.steering import Gait, steer
from spark3r_core.synthetic.world import Worlds

PATH_KINDS = ("handheld", "robot", "orbit", "forward", "still", "loop", "wander")
CLEARANCE = 0.25  # no camera centre comes closer to a surface
PLANNED_CLEARANCE = 0.33
MAX_TURN_DEG = 1.5  # per video frame, jitter aside


@dataclass(frozen=True)
class _Curve:
    """Samples of a path: position (S, 3), yaw, pitch, roll (S,) in radians; yaw 0 looks along +z, positive pitch looks down."""

    position: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray


def poses_from_angles(position: np.ndarray, yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """world_from_camera (S, 4, 4) of cameras that are upright at roll 0 (OpenCV axes, world y down)."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    turn = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).reshape(-1, 3, 3)
    nod = np.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], -1).reshape(-1, 3, 3)
    tilt = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    poses = np.tile(np.eye(4), (len(yaw), 1, 1))
    poses[:, :3, :3] = turn @ nod @ tilt
    poses[:, :3, 3] = position
    return poses


def _jitter(rng: np.random.Generator, times: np.ndarray, amplitude: float, period_total: float | None = None) -> np.ndarray:
    """Sum of a few sinusoids of 0.5–4 Hz at 30 fps; a whole number of cycles in `period_total` where that is given."""
    value = np.zeros_like(times)
    for hertz in rng.uniform(0.5, 4.0, 4):
        cycles_per_frame = hertz / 30
        if period_total:
            cycles_per_frame = max(1, round(cycles_per_frame * period_total)) / period_total
        value += np.sin(2 * np.pi * (cycles_per_frame * times + rng.random())) / hertz
    return amplitude * value


def _closed_curve(
    rng: np.random.Generator, distance: WorldDistance, times: np.ndarray, total: float, speed: float, loop: bool
) -> _Curve:
    """An ellipse-like loop that ends where it began, or an arc around a point that it looks at."""
    low, high = distance.room_min, distance.room_max
    extent = float(min(high[0] - low[0], high[2] - low[2]))
    height = rng.uniform(0.7, 1.7)
    samples = np.linspace(0, 1, 97)
    reach = speed * total / (2 * np.pi) if loop else np.inf
    for attempt in range(60):
        shrink = 0.93**attempt
        if loop:
            radius = min(reach, extent * 0.45) * shrink
            sweep = 2 * np.pi * rng.choice([-1, 1])
        else:
            radius = rng.uniform(0.5, max(0.6, min(4.0, extent * 0.5))) * shrink
            sweep = rng.choice([-1, 1]) * min(speed * total / radius, np.deg2rad(MAX_TURN_DEG) * total, 4 * np.pi)
        centre = distance.sample_free_point(rng, PLANNED_CLEARANCE, (height, height)) if loop else (low + high) / 2
        if not loop:
            centre = rng.uniform(0.6 * low + 0.4 * high, 0.4 * low + 0.6 * high)
            centre[1] = max(-height, low[1] + 0.4)
        start, stretch, wobble = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.0), rng.uniform(0, 0.25)

        def place(share: np.ndarray, centre=centre, radius=radius, sweep=sweep, start=start, stretch=stretch, wobble=wobble):
            angle = start + sweep * share
            rho = radius * (1 + (wobble * np.sin(2 * angle) if loop else 0 * angle))
            rise = 0.15 * min(radius, 1.0) * np.sin(angle)
            return centre + np.stack([rho * np.cos(angle), rise, rho * (stretch if loop else 1) * np.sin(angle)], -1)

        track = place(samples)
        if distance(track).min() >= PLANNED_CLEARANCE:
            break
    else:
        point = distance.sample_free_point(rng, PLANNED_CLEARANCE, (0.8, 1.6))
        centre = point + np.array([0.0, 0.0, 2.0])

        def place(share: np.ndarray):
            return np.tile(point, (len(share), 1))

    share = (times / total if total > 0 else np.zeros_like(times)) % 1.0 if loop else times / max(total, 1.0)
    position = place(share)
    inward = centre - position
    if loop:
        swing = np.deg2rad(MAX_TURN_DEG) * total / (2 * np.pi)
        if swing >= np.pi / 2 and rng.random() < 0.7:  # enough time to turn all the way round
            offset = rng.choice([0.0, np.pi, np.pi / 2])
            yaw = np.arctan2(inward[:, 0], inward[:, 2]) + offset
        else:
            yaw = rng.uniform(0, 2 * np.pi) + min(swing, 1.2) * np.sin(2 * np.pi * share)
        pitch = rng.uniform(-0.05, 0.25) + 0.1 * np.sin(2 * np.pi * share + rng.uniform(0, 6))
    else:
        yaw = np.arctan2(inward[:, 0], inward[:, 2])
        drop = rng.uniform(0.0, 0.5)
        pitch = np.arctan2(inward[:, 1] + drop, np.hypot(inward[:, 0], inward[:, 2]))
    return _Curve(position, yaw, pitch, np.zeros_like(yaw))


def _gait(rng: np.random.Generator, kind: str, world_kind: str) -> Gait:
    pace = {"room": 1.0, "corridor": 1.3, "court": 2.0}[world_kind]
    if kind in ("handheld", "wander"):
        height = rng.uniform(1.1, 1.7)
        return Gait(speed=rng.uniform(0.005, 0.02) * pace, height=(height - 0.3, height + 0.15), level=False, follow=0.0)
    if kind == "robot":
        height = rng.uniform(0.3, 1.2)
        return Gait(speed=rng.uniform(0.006, 0.025) * pace, height=(height, height), level=True, follow=1.0)
    height = rng.uniform(0.8, 1.6)
    return Gait(speed=rng.uniform(0.02, 0.06) * pace, height=(height, height), level=True, follow=1.0)


def make_path(
    kind: str,
    frames: int,
    seed: int,
    worlds: Worlds,
    index: int,
    step: float = 1.0,
    times: np.ndarray | None = None,
) -> np.ndarray:
    """world_from_camera (S, 4, 4) float64 along a path of `kind` (PATH_KINDS) in world `index`.

    The camera is sampled at `frames` times `step` video frames apart (30 fps), or at `times` (S,) in video frames ≥ 0. "loop" ends
    exactly where it started; "still" does not move at all. No camera comes within CLEARANCE of a surface. Raises GeometryError for
    an unknown kind or fewer than one frame.
    """
    if kind not in PATH_KINDS:
        raise GeometryError(f"make_path: unknown kind {kind!r}; expected one of {', '.join(PATH_KINDS)}")
    times = np.arange(frames, dtype=np.float64) * step if times is None else np.asarray(times, np.float64)
    if times.size == 0 or times.min() < 0:
        raise GeometryError(f"make_path: got {times.size} times from {times.min(initial=0)}; expected at least one, none negative")
    rng = np.random.default_rng([23, int(seed), PATH_KINDS.index(kind)])
    distance = worlds.distance(index)
    total = float(times.max())
    gait = _gait(rng, kind, worlds.kinds[index])
    closed = kind in ("loop", "orbit")
    if closed:
        curve = _closed_curve(rng, distance, times, total, gait.speed if kind == "loop" else gait.speed * 0.7, kind == "loop")
    else:
        curve = _Curve(*steer(rng, distance, times, total, gait, PLANNED_CLEARANCE, revisit=kind == "wander"))
    if kind == "still":
        first = poses_from_angles(curve.position[:1], curve.yaw[:1], curve.pitch[:1], rng.normal(0, 0.03, 1))
        return np.repeat(first, len(times), axis=0)
    shake = {"robot": 0.15, "forward": 0.3}.get(kind, 1.0)
    period = total if kind == "loop" else None
    moments = times % total if kind == "loop" and total > 0 else times
    position = curve.position + np.stack([_jitter(rng, moments, 0.003 * shake, period) for _ in range(3)], -1)
    yaw, pitch, roll = (
        angle + _jitter(rng, moments, 0.004 * shake, period) for angle in (curve.yaw, curve.pitch, curve.roll)
    )
    return poses_from_angles(position, yaw, pitch, roll + rng.normal(0, 0.03) * shake)
