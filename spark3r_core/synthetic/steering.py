"""Walking through free space: control points that avoid surfaces, and the direction a camera looks along the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark3r_core.synthetic.distance import WorldDistance

LOOK_FRAMES = 15.0  # video frames between control points of the viewing direction
MAX_CONTROLS = 4000


@dataclass(frozen=True)
class Gait:
    """How something moves: units per video frame, heights above the floor, whether it keeps its height, and whether it looks
    where it goes (1) or around (0)."""

    speed: float
    height: tuple[float, float]
    level: bool
    follow: float


def bspline(controls: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Uniform cubic B-spline through the hull of controls (N, D), N ≥ 4, at parameters (S,) in [0, N - 3]."""
    span = np.clip(np.floor(at).astype(int), 0, len(controls) - 4)
    t = (at - span)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum(w * controls[span + k] for k, w in enumerate(weights)) / 6


def free_view(distance: WorldDistance, origin: np.ndarray, yaws: np.ndarray) -> np.ndarray:
    """How far (N,) one sees from origin (3,) along horizontal directions; a few sphere-tracing steps, so a lower bound."""
    direction = np.stack([np.sin(yaws), np.zeros_like(yaws), np.cos(yaws)], -1)
    travelled = np.zeros(len(yaws))
    for _ in range(6):
        travelled += np.maximum(distance(origin + travelled[:, None] * direction), 0.0)
    return travelled


def _escape(distance: WorldDistance, point: np.ndarray, clearance: float, level: bool) -> np.ndarray | None:
    for _ in range(6):
        free = float(distance(point[None])[0])
        if free >= clearance:
            return point
        push = distance.gradient(point[None])[0]
        if level:
            push[1] = 0.0
        point = point + push * (clearance - free + 0.01)
    return None


def _walk(
    rng: np.random.Generator,
    distance: WorldDistance,
    start: np.ndarray,
    heading: float,
    count: int,
    stride: float,
    frames_per_stride: float,
    gait: Gait,
    clearance: float,
    revisit: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Control points (count, 3) and headings (count,) of a walker that turns away from what is near and changes goals."""
    margin = clearance + 0.05
    goals = [distance.sample_free_point(rng, margin, gait.height) for _ in range(5 if revisit else 1)]
    goal, patience = goals[0], 0
    points, headings, point = [start], [heading], start
    most = np.deg2rad(1.5) * frames_per_stride
    for _ in range(count - 1):
        patience -= 1
        if patience <= 0 or np.linalg.norm((goal - point)[[0, 2]]) < 0.5:
            goal = goals[rng.integers(len(goals))] if revisit else distance.sample_free_point(rng, margin, gait.height)
            patience = int(rng.integers(10, 40))
        wanted = np.arctan2(goal[0] - point[0], goal[2] - point[2])
        around = wanted + np.linspace(-np.pi, np.pi, 9)[:-1] if patience % 3 == 0 else np.array([wanted])
        ahead = free_view(distance, point, around)
        if ahead[np.abs(np.angle(np.exp(1j * (around - wanted)))).argmin()] < 0.6 and len(around) > 1:
            wanted = around[ahead.argmax()]
        heading += np.clip(np.angle(np.exp(1j * (wanted - heading))), -most, most)
        rise = 0.0 if gait.level else np.clip(goal[1] - point[1], -0.2, 0.2) * stride
        moved = point + np.array([np.sin(heading) * stride, rise, np.cos(heading) * stride])
        safe = _escape(distance, moved, margin, gait.level)
        if safe is not None:
            point = safe
        else:
            patience = 0
        points.append(point)
        headings.append(heading)
    return np.array(points), np.array(headings)


def _look(rng: np.random.Generator, distance: WorldDistance, places: np.ndarray, yaw: float) -> np.ndarray:
    """Yaw and pitch controls (N, 2) of someone who looks around at places (N, 3), away from walls right in front."""
    most = np.deg2rad(1.1) * LOOK_FRAMES
    restless = rng.uniform(0.15, 1.0)
    rate, pitch, base = 0.0, rng.uniform(-0.1, 0.35), rng.uniform(0.0, 0.3)
    controls = []
    for place in places:
        drawn = np.clip(0.6 * rate + rng.normal(0, 0.6 * restless * most), -most, most)
        options = yaw + np.array([drawn, 0.0, -most, most])
        seen = np.minimum(free_view(distance, place, options), 2.5)
        chosen = 0 if seen[0] > 1.2 or seen[0] >= 0.8 * seen.max() else int(seen.argmax())
        rate, yaw = options[chosen] - yaw, options[chosen]
        pitch = np.clip(pitch + 0.3 * (base - pitch) + rng.normal(0, 0.07 * restless), -0.5, 0.7)
        controls.append((yaw, pitch))
    return np.array(controls)


def steer(
    rng: np.random.Generator,
    distance: WorldDistance,
    times: np.ndarray,
    total: float,
    gait: Gait,
    clearance: float,
    revisit: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Position (S, 3), yaw, pitch, roll (S,) at `times` (video frames, up to `total`) of a collision-free walk.

    Where a spline between safe control points would still graze a surface, the walk ends before it and is spread over the time.
    """
    start = distance.sample_free_point(rng, clearance + 0.1, gait.height)
    frames_per_stride = max(0.12 / gait.speed, total / MAX_CONTROLS)
    stride = gait.speed * frames_per_stride
    count = int(np.ceil(total / frames_per_stride)) + 4
    directions = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 9)[:-1]
    view = free_view(distance, start, directions)
    heading = float(directions[view.argmax()] if gait.follow else directions[np.flatnonzero(view >= 0.6 * view.max())[0]])
    points, headings = _walk(rng, distance, start, heading, count, stride, frames_per_stride, gait, clearance, revisit)
    dense = np.linspace(0, count - 3, 4 * count)
    blocked = np.flatnonzero(distance(bspline(points, dense)) < clearance - 0.03)
    usable = float(dense[max(blocked[0] - 1, 0)]) if len(blocked) else count - 3.0
    at = np.minimum(times / frames_per_stride, count - 3.0)
    if at.max(initial=0.0) > usable:
        at = at * (usable / at.max())
    position = bspline(points, at)
    if gait.follow:
        yaw = bspline(headings[:, None], at)[:, 0]
        pitch = np.full_like(yaw, rng.uniform(-0.02, 0.25))
    else:
        knots = np.arange(int(np.ceil(total / LOOK_FRAMES)) + 4) * LOOK_FRAMES
        places = bspline(points, np.minimum(np.minimum(knots, total) / frames_per_stride, count - 3.0))
        controls = _look(rng, distance, places, heading)
        yaw, pitch = bspline(controls, times / LOOK_FRAMES).T
    return position, yaw, pitch, np.zeros_like(yaw)
