"""What a pose graph is given: where nodes lie, what edges say, and how sure of it they are. Plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.rotation import exp_so3, nearest_rotation
from spark3r_core.geometry.sim3 import Sim3

Array = NDArray[np.float64]
Index = NDArray[np.int64]
UNKNOWNS = 7  # of a node: shift in its own frame and unit, turn, log scale


@dataclass(frozen=True)
class Similarities:
    """N similarities as arrays: scale (N,), rotation (N, 3, 3), translation (N, 3)."""

    scale: Array
    rotation: Array
    translation: Array

    @staticmethod
    def of(similarities: Sequence[Sim3]) -> Similarities:
        return Similarities(
            np.array([one.scale for one in similarities], np.float64),
            np.array([one.rotation for one in similarities], np.float64).reshape(-1, 3, 3),
            np.array([one.translation for one in similarities], np.float64).reshape(-1, 3),
        )

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, index: Index | NDArray[np.bool_]) -> Similarities:
        return Similarities(self.scale[index], self.rotation[index], self.translation[index])

    def followed_by(self, others: Similarities) -> Similarities:
        """These, and then the others."""
        return Similarities(
            np.concatenate([self.scale, others.scale]),
            np.concatenate([self.rotation, others.rotation]),
            np.concatenate([self.translation, others.translation]),
        )

    def one(self, index: int) -> Sim3:
        return Sim3(float(self.scale[index]), nearest_rotation(self.rotation[index]), self.translation[index])

    def moved(self, step: Array) -> Similarities:
        """Each moved in its own frame by a step (N, 7) = [shift in its unit, turn, log of the growth]."""
        shift = np.einsum("nij,nj->ni", self.rotation, step[:, :3]) * self.scale[:, None]
        return Similarities(
            self.scale * np.exp(step[:, 6]), self.rotation @ exp_so3(step[:, 3:6]), self.translation + shift
        )

    def relative(self, first: Index, second: Index) -> Similarities:
        """first_from_second of pairs (E,) of world_from_node."""
        a, b = self[first], self[second]
        back = a.rotation.transpose(0, 2, 1)
        shift = np.einsum("nij,nj->ni", back, b.translation - a.translation) / a.scale[:, None]
        return Similarities(b.scale / a.scale, back @ b.rotation, shift)


@dataclass(frozen=True)
class Edges:
    """E measured similarities between nodes.

    first, second: (E,). measured: first_from_second. information: (E, 7, 7) of [translation in the frame and unit of
    the first, rotation vector, log scale]. doubted: (E,) whether an edge may be false: loops may, odometry may not.
    """

    first: Index
    second: Index
    measured: Similarities
    information: Array
    doubted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)
