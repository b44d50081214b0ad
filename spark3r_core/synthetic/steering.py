"""Walking through free space: control points that avoid surfaces, and the direction a camera looks along the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark3r_core.synthetic.distance import WorldDistance

LOOK_FRAMES = 15.0  # video frames between control points of the viewing direction
MAX_CONTROLS = 4000


@dataclass(frozen=True)
class Gait:
    """How something moves: units and largest turn per video frame, heights above the floor, whether it keeps its
    height, and whether it looks where it goes."""

    speed: float
    turn_rad: float
    height: tuple[float, float]
    level: bool
    looks_ahead: bool


def bspline(controls: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Uniform cubic B-spline inside the hull of controls (N, D), N ≥ 4, at parameters (S,) in [0, N - 3]."""
    span = np.clip(np.floor(at).astype(int), 0, len(controls) - 4)
    t = (at - span)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum((w * controls[span + k] for k, w in enumerate(weights)), np.zeros(1)) / 6


def _wrapped(angle: np.ndarray | float) -> np.ndarray:
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def _escape(distance: WorldDistance, point: np.ndarray, clearance: float, level: bool) -> np.ndarray | None:
    """The point, pushed away from surfaces until it has its clearance; None where that fails."""
    for _ in range(6):
        free = float(distance(point[None])[0])
        if free >= clearance:
            return point
        push = distance.gradient(point)
        if level:
            push[1] = 0.0
        point = point + push * (clearance - free + 0.01)
    return None


class _Walker:
    """Turns at a limited rate towards goals, slower the more it has to turn, and looks for another way when it is
    stuck.
    """

    def __init__(
        self, rng: np.random.Generator, distance: WorldDistance, gait: Gait, clearance: float, revisit: bool
    ) -> None:
        self.rng, self.distance, self.gait, self.clearance = rng, distance, gait, clearance
        self.places = [self._free_point() for _ in range(5)] if revisit else []
        self.goal, self.patience = np.zeros(3), 0

    def _free_point(self) -> np.ndarray:
        return self.distance.sample_free_point(self.rng, self.clearance, self.gait.height)

    def _choose_goal(self, point: np.ndarray) -> None:
        options = self.places or [self._free_point() for _ in range(3)]
        away = np.array([np.hypot(*(option - point)[[0, 2]]) for option in options])
        far = np.flatnonzero(away > 1.2)
        self.goal = options[self.rng.choice(far)] if len(far) else options[away.argmax()]
        self.patience = int(self.rng.integers(15, 60))

    def walk(
        self, start: np.ndarray, heading: float, count: int, stride: float, most_turn: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Control points (count, 3) and headings (count,)."""
        points, headings, point = [start], [heading], start
        for _ in range(count - 1):
            self.patience -= 1
            if self.patience <= 0 or np.hypot(*(self.goal - point)[[0, 2]]) < 0.5:
                self._choose_goal(point)
            wanted = float(np.arctan2(self.goal[0] - point[0], self.goal[2] - point[2]))
            around = wanted + np.array([0.0, 0.5, -0.5, 1.0, -1.0, 1.6, -1.6, np.pi])
            ahead = self.distance.free_view(point, around)
            if ahead[0] < 0.6:
                clear = np.flatnonzero(ahead > 0.9)
                wanted = float(around[clear[0]] if len(clear) else around[ahead.argmax()])
            error = float(_wrapped(wanted - heading))
            heading += float(np.clip(error, -most_turn, most_turn))
            pace = stride * max(0.15, np.cos(np.clip(error, -1.5, 1.5)))
            rise = 0.0 if self.gait.level else float(np.clip(self.goal[1] - point[1], -0.2, 0.2)) * stride
            moved = point + np.array([np.sin(heading) * pace, rise, np.cos(heading) * pace])
            safe = _escape(self.distance, moved, self.clearance, self.gait.level)
            if safe is None:
                self.patience = 0
            else:
                point = safe
            points.append(point)
            headings.append(heading)
        return np.array(points), np.array(headings)


def _look(rng: np.random.Generator, distance: WorldDistance, places: np.ndarray, yaw: float) -> np.ndarray:
    """Yaw and pitch controls (N, 2) of someone who looks around at places (N, 3), away from walls right in front."""
    restless = rng.uniform(0.1, 1.0)
    most = np.deg2rad(0.5 + 1.1 * restless) * LOOK_FRAMES
    enough = rng.uniform(1.2, 2.2)
    rate, pitch, base = 0.0, rng.uniform(-0.1, 0.35), rng.uniform(0.0, 0.3)
    controls = []
    for place in places:
        drawn = float(np.clip(0.7 * rate + rng.normal(0, 0.7 * restless * most), -most, most))
        options = yaw + np.array([drawn, 0.0, -most, most])
        seen = np.minimum(distance.free_view(place, options), enough)
        chosen = 0 if seen[0] >= 0.95 * seen.max() else int(seen.argmax())
        rate, yaw = float(options[chosen] - yaw), float(options[chosen])
        pitch = np.clip(pitch + 0.3 * (base - pitch) + rng.normal(0, 0.1 * restless), -0.5, 0.7)
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position (S, 3), yaw and pitch (S,) at `times` (video frames, up to `total`) of a collision-free walk.

    Where a spline between safe control points would still graze a surface, the walk ends before it and is spread over
    the time.
    """
    start = distance.sample_free_point(rng, clearance + 0.1, gait.height)
    frames_per_stride = max(0.12 / gait.speed, total / MAX_CONTROLS)
    count = int(np.ceil(total / frames_per_stride)) + 4
    directions = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 9)[:-1]
    view = np.minimum(distance.free_view(start, directions), 5.0)
    heading = float(
        directions[view.argmax()] if gait.looks_ahead else rng.choice(directions, p=view**2 / (view**2).sum())
    )
    walker = _Walker(rng, distance, gait, clearance + 0.05, revisit)
    points, headings = walker.walk(
        start, heading, count, gait.speed * frames_per_stride, gait.turn_rad * frames_per_stride
    )
    dense = np.linspace(0, count - 3, 4 * count)
    blocked = np.flatnonzero(distance(bspline(points, dense)) < clearance - 0.03)
    usable = float(dense[max(blocked[0] - 1, 0)]) if len(blocked) else count - 3.0
    pace = min(1.0, usable * frames_per_stride / total) if total > 0 else 1.0
    at = np.minimum(times * pace / frames_per_stride, count - 3.0)
    position = bspline(points, at)
    if gait.looks_ahead:
        yaw = bspline(headings[:, None], at)[:, 0]
        return position, yaw, np.full_like(yaw, rng.uniform(-0.02, 0.25))
    knots = np.minimum(np.arange(int(np.ceil(total / LOOK_FRAMES)) + 4) * LOOK_FRAMES, total)
    places = bspline(points, np.minimum(knots * pace / frames_per_stride, count - 3.0))
    yaw, pitch = bspline(_look(rng, distance, places, heading), times / LOOK_FRAMES).T
    return position, yaw, pitch
