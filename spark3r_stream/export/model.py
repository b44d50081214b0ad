"""What the writers of an export share: the map's keyframes in order, their names, pictures and sparse points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spark3r_core.stream.kept_picture import decoded
from spark3r_core.stream.keyframe_map import Array, Keyframe, KeyframeMap
from spark3r_core.stream.sparse_points import SparsePoints, sparse_points
from spark3r_stream.errors import OutputError
from spark3r_stream.export.folder import ExportFolder

Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From the map's axes, its first camera's in OpenCV's way (x right, y down, z ahead), to x right, y ahead, z up."""


@dataclass(frozen=True)
class ExportModel:
    """A map to be exported; what is derived from it is made once, when it is asked for."""

    world: KeyframeMap
    z_up: bool = False

    @cached_property
    def keyframes(self) -> list[Keyframe]:
        return [self.world.keyframes[frame_id] for frame_id in self.world.order]

    @cached_property
    def camera(self) -> Array:
        """(3, 3) of the pictures."""
        return self.world.camera_of(self.world.picture_hw)

    @cached_property
    def pictures(self) -> list[NDArray[np.uint8]]:
        """(H, W, 3) RGB by slot. Raises OutputError where one was not kept or cannot be decoded."""
        pictures = []
        for keyframe in self.keyframes:
            _require_picture(keyframe)
            try:
                picture = decoded(keyframe.picture)
            except ValueError as error:
                raise OutputError(f"keyframe {keyframe.frame_id}: {error}") from None
            if picture.shape[:2] != tuple(self.world.picture_hw):
                raise OutputError(f"keyframe {keyframe.frame_id}: its picture is not as large as the map says")
            pictures.append(picture)
        return pictures

    @cached_property
    def points(self) -> SparsePoints:
        return sparse_points(self.world)

    @cached_property
    def point_colours(self) -> NDArray[np.uint8]:
        return self.points.colours(self.pictures, [keyframe.features.places for keyframe in self.keyframes])

    def write_pictures(self, folder: ExportFolder) -> list[str]:
        """The pictures as they were kept, as files in images/; their names by slot."""
        names = []
        for keyframe in self.keyframes:
            _require_picture(keyframe)
            names.append(f"{keyframe.frame_id:06d}.jpg")
            folder.write(f"images/{names[-1]}", keyframe.picture)
        return names


def time_ns(keyframe: Keyframe) -> int:
    return round(keyframe.time_s * 1e9)


def _require_picture(keyframe: Keyframe) -> None:
    if not keyframe.picture:
        raise OutputError(f"keyframe {keyframe.frame_id} of this map has no picture, and this export needs pictures")
