"""A world under construction: a room shell and a growing list of analytic primitives.

World axes: y points down (gravity is +y), the floor is the plane y = 0, so everything above it has negative y.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spark3r_core.synthetic.materials import Material


@dataclass
class Layout:
    """A world under construction. Sizes are half extents; rotations are world_from_object. walk_min, walk_max: the part
    of the room that cameras keep to."""

    kind: str
    room_min: np.ndarray
    room_max: np.ndarray
    open_sky: bool
    shell: list[Material]  # -x, +x, ceiling, floor, -z, +z
    walk_min: np.ndarray
    walk_max: np.ndarray
    boxes: list[tuple[np.ndarray, np.ndarray, np.ndarray, Material]] = field(default_factory=list)
    cylinders: list[tuple[np.ndarray, np.ndarray, np.ndarray, Material]] = field(default_factory=list)
    spheres: list[tuple[np.ndarray, np.ndarray, np.ndarray, Material]] = field(default_factory=list)

    def box(self, centre, half, material: Material, yaw: float = 0.0, tilt: float = 0.0) -> None:
        rotation = yaw_matrix(yaw) @ tilt_matrix(tilt)
        self.boxes.append((np.asarray(centre, float), rotation, np.asarray(half, float), material))

    def cylinder(self, centre, radius: float, half_height: float, material: Material) -> None:
        half = np.array([radius, half_height, radius])
        self.cylinders.append((np.asarray(centre, float), np.eye(3), half, material))

    def sphere(self, centre, radius: float, material: Material, yaw: float = 0.0) -> None:
        self.spheres.append((np.asarray(centre, float), yaw_matrix(yaw), np.full(3, radius), material))


def yaw_matrix(angle: float) -> np.ndarray:
    """Rotation about the vertical that takes +z towards +x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def tilt_matrix(angle: float) -> np.ndarray:
    """Rotation about the x axis."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
