"""A path that begins with nothing but a flat wall in view: along it, back from it, and then on into the room.

With one plane in view, focal length and depth cannot be told apart; what was taken for them there has to be given up
later.
"""

from __future__ import annotations

import numpy as np

from spark3r_core.synthetic.distance import WorldDistance

WALL_SHARE, LONGEST_WALL = 0.35, 60.0  # of the path, and video frames, that show the wall alone
TURN_DEG = 1.2  # per video frame, once it leaves the wall
SEEN_TAN = (0.6, 0.45)  # half a picture of 62 degrees, sideways and up: what must be wall
PICTURE_THICKNESS = 0.08  # what hangs on a wall counts as wall
SAMPLES = 1025


def wall_start(
    rng: np.random.Generator, distance: WorldDistance, times: np.ndarray, total: float, speed: float, clearance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position (S, 3), yaw and pitch (S,) at `times` (video frames, up to `total`), `speed` units per video frame.

    Where no wall is free, or there is no way from it, the camera stands in front of what there is.
    """
    grid = np.linspace(0.0, total, SAMPLES)
    wall_until = min(WALL_SHARE * total, LONGEST_WALL)
    pitch = np.full(len(times), rng.uniform(-0.03, 0.08))
    position, yaw = np.zeros((SAMPLES, 3)), np.zeros(SAMPLES)
    for attempt in range(200):
        start, facing = _before_wall(rng, distance)
        side, most = rng.choice([-1.0, 1.0]), np.deg2rad(rng.uniform(140, 180))
        leaving = _smooth((grid - 0.3 * wall_until) / max(0.7 * wall_until, 1e-9))
        heading = facing + side * np.pi / 2 * (1 + leaving)  # sideways first, straight back in the end
        pace = speed * 0.985**attempt * total / (SAMPLES - 1)
        steps = pace * np.stack([np.sin(heading), np.zeros(SAMPLES), np.cos(heading)], -1)
        position = start + np.cumsum(steps, axis=0) - steps[0]
        turned = np.deg2rad(TURN_DEG) * max(total - wall_until, 0.0)
        share = _smooth((grid - wall_until) / max(total - wall_until, 1e-9))
        # a smooth turn is half as fast again in its middle
        yaw = facing + side * min(most, turned / 1.5) * share
        if _is_wall(distance, start, facing) and distance(position).min() >= clearance:
            break
    else:
        start = distance.sample_free_point(rng, clearance + 0.1, (1.1, 1.6))
        position = np.tile(start, (SAMPLES, 1))
    at = [np.interp(times, grid, column) for column in (*position.T, yaw)] if total > 0 else None
    if at is None:
        return np.tile(position[0], (len(times), 1)), np.full(len(times), yaw[0]), pitch
    return np.stack(at[:3], -1), at[3], pitch


def _smooth(share: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, without a kink between."""
    share = np.clip(share, 0.0, 1.0)
    return share * share * (3 - 2 * share)


def _before_wall(rng: np.random.Generator, distance: WorldDistance) -> tuple[np.ndarray, float]:
    """A place (3,) half a unit to one unit in front of a random wall, and the yaw that looks at it."""
    low, high = distance.room_min, distance.room_max
    wall, away = int(rng.integers(4)), rng.uniform(0.5, 1.0)
    point = rng.uniform(0.85 * low + 0.15 * high, 0.15 * low + 0.85 * high)
    point[1] = -rng.uniform(1.1, 1.6)
    axis = 0 if wall < 2 else 2
    point[axis] = low[axis] + away if wall % 2 == 0 else high[axis] - away
    return point, (-np.pi / 2, np.pi / 2, np.pi, 0.0)[wall]


def _is_wall(distance: WorldDistance, point: np.ndarray, facing: float) -> bool:
    """Whether a picture from there shows a wall and nothing in front of it."""
    low, high = distance.room_min, distance.room_max
    ahead = np.array([np.sin(facing), 0.0, np.cos(facing)])
    right = np.array([np.cos(facing), 0.0, -np.sin(facing)])
    axis = int(np.abs(ahead).argmax())
    away = high[axis] - point[axis] if ahead[axis] > 0 else point[axis] - low[axis]
    across, up = np.meshgrid(np.linspace(-1, 1, 7) * SEEN_TAN[0], np.linspace(-1, 1, 5) * SEEN_TAN[1])
    rays = ahead + across.reshape(-1, 1) * right + up.reshape(-1, 1) * np.array([0.0, 1.0, 0.0])
    near = distance(point + (away - PICTURE_THICKNESS) * rays)
    half = distance(point + 0.5 * away * rays)
    return bool(near.min() > 0 and half.min() > 0.1)
