"""Camera paths through a world: smooth, collision-free, paced like a 30 fps video.

A path is a function of time in video frames; `step` or `times` says where it is sampled. "handheld", "robot",
"forward" and "wander" walk (steering.py); "orbit" and "loop" follow closed curves; "wall_start" (wall_start.py) begins
in front of a flat wall; "twin_rooms" (twin_rooms.py) needs that world; "turn" turns on the spot, one degree per video
frame, and never moves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.synthetic.distance import WorldDistance
from spark3r_core.synthetic.steering import Gait, steer
from spark3r_core.synthetic.twin_rooms import twin_rooms_walk
from spark3r_core.synthetic.wall_start import wall_start
from spark3r_core.synthetic.world import Worlds

PATH_KINDS = ("handheld", "robot", "orbit", "forward", "still", "loop", "wander", "wall_start", "twin_rooms", "turn")
CLEARANCE = 0.25  # no camera centre comes closer to a surface
PLANNED_CLEARANCE = 0.33  # leaves room for shake
MAX_TURN_DEG = 1.3  # of closed curves, per video frame
SHAKE = {"robot": 0.2, "forward": 0.4}  # relative to a hand
RAMP = 8  # video frames in which a camera comes to rest, and starts again

Angles = tuple[np.ndarray, np.ndarray, np.ndarray]  # position (S, 3), yaw (S,), pitch (S,)


def poses_from_angles(position: np.ndarray, yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """world_from_camera (S, 4, 4) with OpenCV axes in a world whose y points down.

    Yaw 0 looks along +z and grows towards +x, positive pitch looks down, roll turns about the viewing direction.
    """
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    turn = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).reshape(-1, 3, 3)
    nod = np.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], -1).reshape(-1, 3, 3)
    tilt = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    poses = np.tile(np.eye(4), (len(yaw), 1, 1))
    poses[:, :3, :3] = turn @ nod @ tilt
    poses[:, :3, 3] = position
    return poses


def _shake(rng: np.random.Generator, times: np.ndarray, amplitude: float, period_total: float | None) -> np.ndarray:
    """Sum of a few sinusoids of 0.5–4 Hz at 30 fps; whole numbers of cycles in `period_total` where that is given."""
    value = np.zeros_like(times)
    for hertz in rng.uniform(0.5, 4.0, 4):
        cycles_per_frame = hertz / 30
        if period_total:
            cycles_per_frame = max(1, round(cycles_per_frame * period_total)) / period_total
        value += np.sin(2 * np.pi * (cycles_per_frame * times + rng.random())) / hertz
    return amplitude * value


def _place_curve(
    distance: WorldDistance, attempts: int, propose: Callable[[int], Callable[[np.ndarray], np.ndarray]]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """The first proposed curve (a function of share 0…1 → (S, 3)) that keeps its clearance."""
    samples = np.linspace(0, 1, 129)
    for attempt in range(attempts):
        curve = propose(attempt)
        if distance(curve(samples)).min() >= PLANNED_CLEARANCE:
            return curve
    return None


def _loop(rng: np.random.Generator, distance: WorldDistance, times: np.ndarray, total: float, speed: float) -> Angles:
    """A closed, slightly wavy ellipse; at `total` the camera is exactly where and how it was at 0."""
    extent = float(min((distance.room_max - distance.room_min)[[0, 2]]))
    reach = min(speed * total / (2 * np.pi), 0.45 * extent)
    height, turn = rng.uniform(0.8, 1.7), float(rng.choice([-1, 1]))
    share = (times / total if total > 0 else np.zeros_like(times)) % 1.0
    centre = np.zeros(3)

    def propose(attempt: int) -> Callable[[np.ndarray], np.ndarray]:
        nonlocal centre
        centre = distance.sample_free_point(rng, PLANNED_CLEARANCE, (height, height))
        radius = reach * 0.93**attempt
        start, stretch, wave, middle = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.0), rng.uniform(0, 0.2), centre

        def curve(at: np.ndarray) -> np.ndarray:
            angle = start + 2 * np.pi * turn * at
            rho = radius * (1 + wave * np.sin(2 * angle))
            return middle + np.stack(
                [rho * np.cos(angle), 0.12 * radius * np.sin(angle), rho * stretch * np.sin(angle)], -1
            )

        return curve

    curve = _place_curve(distance, 60, propose)
    position = (
        curve(share) if curve else np.tile(distance.sample_free_point(rng, 0.5, (height, height)), (len(times), 1))
    )
    swing = np.deg2rad(MAX_TURN_DEG) * total / (2 * np.pi)
    if swing > 1.2 and rng.random() < 0.7:  # there is time to turn all the way round: inwards, outwards or along
        middle = position.mean(0) if curve is None else curve(np.linspace(0, 1, 33)[:-1]).mean(0)
        inward = middle - position
        yaw = np.arctan2(inward[:, 0], inward[:, 2]) + rng.choice([0.0, np.pi, -np.pi / 2 * turn])
    else:
        options = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 9)[:-1]
        best = options[distance.free_view(position[0], options).argmax()]
        yaw = best + min(swing, 1.0) * np.sin(2 * np.pi * share)
    pitch = rng.uniform(-0.05, 0.25) + min(swing, 0.12) * np.sin(2 * np.pi * share + rng.uniform(0, 6))
    return position, yaw, pitch


def _orbit(rng: np.random.Generator, distance: WorldDistance, times: np.ndarray, total: float, speed: float) -> Angles:
    """An arc around a thing (or a point in the air) that stays in the middle of the picture."""
    low, high = distance.room_min, distance.room_max
    things = [
        (c, float(np.max(h)))
        for c, h in zip(distance.boxes[0], distance.boxes[2], strict=True)
        if 0.1 < np.max(h) < 1.0
    ]
    things += [(c, float(r)) for c, r in zip(*distance.spheres, strict=True) if r < 1.0]
    rise, wave = rng.uniform(0.0, 0.9), rng.uniform(0, 0.15)
    turn = float(rng.choice([-1, 1])) * np.deg2rad(rng.uniform(0.25, MAX_TURN_DEG))
    target = np.zeros(3)

    def propose(attempt: int) -> Callable[[np.ndarray], np.ndarray]:
        nonlocal target
        if things and rng.random() < 0.75:
            target, size = things[rng.integers(len(things))]
        else:
            target, size = rng.uniform(0.7 * low + 0.3 * high, 0.3 * low + 0.7 * high), 0.3
            target[1] = max(-rng.uniform(0.3, 1.5), low[1] + 0.4)
        radius = size + rng.uniform(0.5, 2.5) * 0.97**attempt
        # The arc gets shorter with every failure: three sides of a cupboard cannot be walked around.
        sweep = np.sign(turn) * min(abs(turn) * total, speed * total / radius, 4 * np.pi) * 0.97**attempt
        start, middle, up = rng.uniform(0, 2 * np.pi), target, rise * 0.95**attempt

        def curve(at: np.ndarray) -> np.ndarray:
            angle = start + sweep * at
            y = np.clip(middle[1] - up - wave * np.sin(2 * angle), low[1] + 0.4, -0.4)
            return np.stack([middle[0] + radius * np.cos(angle), y, middle[2] + radius * np.sin(angle)], -1)

        return curve

    curve = _place_curve(distance, 80, propose)
    share = times / total if total > 0 else np.zeros_like(times)
    position = curve(share) if curve else np.tile(distance.sample_free_point(rng, 0.5, (0.8, 1.6)), (len(times), 1))
    away = target - position
    return (
        position,
        np.unwrap(np.arctan2(away[:, 0], away[:, 2])),
        np.arctan2(away[:, 1], np.hypot(away[:, 0], away[:, 2])),
    )


def _gait(rng: np.random.Generator, kind: str, world_kind: str) -> Gait:
    pace = {"corridor": 1.3, "court": 2.0, "street": 2.0, "terrace": 1.2}.get(world_kind, 1.0)
    height, turn = rng.uniform(1.1, 1.7), np.deg2rad(rng.uniform(0.5, 1.5))
    if kind == "robot":
        height = rng.uniform(0.35, 1.2)
        return Gait(rng.uniform(0.006, 0.025) * pace, turn, (height, height), level=True, looks_ahead=True)
    if kind == "forward":
        return Gait(rng.uniform(0.02, 0.05) * pace, turn, (height, height), level=True, looks_ahead=True)
    return Gait(rng.uniform(0.006, 0.02) * pace, turn, (height - 0.3, height + 0.15), level=False, looks_ahead=False)


def paused_times(frames: int, pause: int, step: float = 1.0) -> np.ndarray:
    """Times (frames,) in video frames, `step` apart, of a camera that stands still for `pause` samples in the middle.

    So many in a row are where the one before them is.

    Raises GeometryError where the pause, with coming to rest and starting again, does not fit.
    """
    if not 1 <= pause <= frames - 2 * RAMP - 2:
        raise GeometryError(
            f"a pause of {pause} frames does not fit into {frames}; expected 1 to {max(1, frames - 2 * RAMP - 2)}"
        )
    step_to, begin = np.arange(1, frames), (frames - pause) // 2
    away = np.maximum(begin - step_to, step_to - (begin + pause - 1))
    return np.concatenate([[0.0], np.cumsum(step * np.clip(away / RAMP, 0.0, 1.0))])


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

    The camera is sampled at `frames` times `step` video frames apart (30 fps), or at `times` (S,) in video frames ≥
    0. "loop" ends exactly where it started; "still" does not move at all; "turn" keeps its place. No camera comes
    within CLEARANCE of a surface. Raises GeometryError for an unknown kind, no times or negative ones, and for
    "twin_rooms" in another world.
    """
    if kind not in PATH_KINDS:
        raise GeometryError(f"make_path: unknown kind {kind!r}; expected one of {', '.join(PATH_KINDS)}")
    times = np.arange(frames, dtype=np.float64) * step if times is None else np.asarray(times, np.float64)
    if times.size == 0 or times.min() < 0:
        raise GeometryError(
            f"make_path: {times.size} times, the first {times[:1]}; expected at least one and none negative"
        )
    rng = np.random.default_rng([23, int(seed), PATH_KINDS.index(kind)])
    distance = worlds.distance(index)
    gait = _gait(rng, kind, worlds.kinds[index])
    if kind == "still":
        position, yaw, pitch = steer(rng, distance, np.zeros(1), 0.0, gait, PLANNED_CLEARANCE, revisit=False)
        return np.repeat(poses_from_angles(position, yaw, pitch, rng.normal(0, 0.03, 1)), len(times), axis=0)
    if kind == "turn":
        position, yaw, pitch = steer(rng, distance, np.zeros(1), 0.0, gait, PLANNED_CLEARANCE, revisit=False)
        yaw = yaw + rng.choice([-1.0, 1.0]) * np.deg2rad(times)
        pitch = pitch + 0.1 * np.sin(np.deg2rad(times))
        return poses_from_angles(np.repeat(position, len(times), axis=0), yaw, pitch, np.zeros(len(times)))
    total = float(times.max())
    if kind == "loop":
        position, yaw, pitch = _loop(rng, distance, times, total, gait.speed)
    elif kind == "orbit":
        position, yaw, pitch = _orbit(rng, distance, times, total, gait.speed)
    elif kind == "wall_start":
        position, yaw, pitch = wall_start(rng, distance, times, total, gait.speed, PLANNED_CLEARANCE)
    elif kind == "twin_rooms":
        if worlds.kinds[index] != "twin_rooms":
            raise GeometryError(f'a path "twin_rooms" leads through that world only; found {worlds.kinds[index]!r}')
        position, yaw = twin_rooms_walk(distance, times, total)
        pitch = np.full(len(times), rng.uniform(-0.02, 0.15))
    else:
        position, yaw, pitch = steer(rng, distance, times, total, gait, PLANNED_CLEARANCE, revisit=kind == "wander")
    shake = SHAKE.get(kind, 1.0)
    period = total if kind == "loop" and total > 0 else None
    moments = times % total if period else times
    position = position + np.stack([_shake(rng, moments, 0.003 * shake, period) for _ in range(3)], -1)
    yaw, pitch, roll = (
        angle + _shake(rng, moments, 0.004 * shake, period)
        for angle in (yaw, pitch, np.full_like(yaw, rng.normal(0, 0.03) * shake))
    )
    return poses_from_angles(position, yaw, pitch, roll)
