"""A saved map that a run goes on in: which runs may, and how its keyframes are published again.

A run that goes on for one that broke off in the same session publishes none again that is out already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.stream.kept_picture import decoded
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_stream.engine.frame_cloud import CloudConfig
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.engine.submap import Submap
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.saved_map import MapFacts, SavedMap
from spark3r_stream.wire.messages import KeyframeOutput

PER_FRAME = 2  # keyframes published with a frame: a subscriber's queue holds 85
LEAST_GAP_S = 1.0  # between the last keyframe of a map and the first of a run whose clock began anew
_CAMERA_TOLERANCE = 1e-6  # of each number
_UNKNOWN_COLOUR = 128


@dataclass
class Reopening:
    """A saved map as a run meets it.

    name: of the map's file, for people. facts, sha256: as in `SavedMap`. next_frame_id: from which on frames of the run
    are to be numbered. is_read_only: the map's keyframes stay where they are, frames are looked for in it for as long
    as it takes, and no other map begins. time_shift_s: see `begin`. world: until that was called. resumption: what is
    out of the map in this session. next_number: of the submap after those that `begin` numbered.
    """

    name: str
    facts: MapFacts
    sha256: str
    next_frame_id: int
    is_read_only: bool
    world: KeyframeMap | None
    resumption: Resumption = field(default_factory=Resumption)
    time_shift_s: float = 0.0
    next_number: int = 0
    _picture_hw: tuple[int, int] = (0, 0)
    _given_camera: NDArray[np.float64] | None = None
    _unpublished: list[tuple[Submap, Keyframe]] = field(default_factory=list)

    @staticmethod
    def of(
        saved: SavedMap, name: str, *, is_read_only: bool = False, resumption: Resumption | None = None
    ) -> Reopening:
        world, before = saved.world, resumption or Resumption()
        return Reopening(
            name, saved.facts, saved.sha256, max(max(world.keyframes) + 1, before.next_frame_id), is_read_only, world,
            before, _picture_hw=world.picture_hw, _given_camera=world.given_camera,
        )  # fmt: skip

    def check(self, frame_id: int, picture_hw: tuple[int, int], camera: NDArray[np.float64] | None) -> None:
        """Raises MapFileError if frames like this cannot go into the map. picture_hw: of its picture, undistorted.
        camera: (3, 3) of that, where the user gave it."""
        if frame_id < self.next_frame_id:
            raise MapFileError(f"frame {frame_id} is older than the map {self.name}; this is not how the run was made")
        if picture_hw != self._picture_hw:
            found, expected = (f"{width}x{height}" for height, width in (picture_hw, self._picture_hw))
            raise MapFileError(f"the map {self.name} is of pictures of {expected}; the source gives {found}")
        if camera is None and self._given_camera is None:
            return
        if camera is None or self._given_camera is None:
            then, now = ("without", "with") if camera is not None else ("with", "without")
            raise MapFileError(
                f"the map {self.name} was made {then} --camera, this run is {now}; do as then, or name another map"
            )
        if not np.allclose(camera, self._given_camera, rtol=_CAMERA_TOLERANCE):
            raise MapFileError(f"the map {self.name} was made with other --camera; give those, or name another map")

    def begin(self, time_s: float) -> dict[int, Submap]:
        """Submaps of the map's keyframes by frame id, to be published with `next_outputs` where they are not out yet;
        those are numbered from `resumption.next_submap`, which is 0 in a new session.

        time_s: of the run's first frame. In the map, times of the run are `time_shift_s` later, so that they follow its
        own: a file's begin with zero each time.
        """
        world, self.world = self.world, None
        assert world is not None, "begun twice"
        self.time_shift_s = max(0.0, max(one.time_s for one in world.keyframes.values()) + LEAST_GAP_S - time_s)
        submaps: dict[int, Submap] = {}
        first: int | None = None
        self.next_number = self.resumption.next_submap
        for frame_id in world.order:
            keyframe = world.keyframes[frame_id]
            stamp = round(keyframe.time_s * 1e9)
            number = self.resumption.submaps.get(frame_id)
            is_out = number is not None
            if number is None:
                number, self.next_number = self.next_number, self.next_number + 1
            submaps[frame_id] = Submap(number, frame_id, stamp, 0, stamp, first)
            first = number if first is None else first
            submaps[frame_id].part_from_submap = keyframe.map_from_keyframe
            if not is_out:
                self._unpublished.append((submaps[frame_id], keyframe))
        return submaps

    def next_outputs(self, cloud: CloudConfig, most: int | None = PER_FRAME) -> list[KeyframeOutput]:
        """The next keyframes to publish, at most so many; None: all that are left."""
        now = self._unpublished[:most]
        del self._unpublished[:most]
        return [
            submap.output(cloud, _picture_of_depth(one), one.depth, one.confidence, one.depth_intrinsics)
            for submap, one in now
        ]


def _picture_of_depth(keyframe: Keyframe) -> NDArray[np.uint8]:
    """(h, w, 3) RGB: the keyframe's picture at the size of its depth; grey where it was not kept."""
    height, width = keyframe.depth.shape
    try:
        picture = decoded(keyframe.picture)
    except ValueError:
        return np.full((height, width, 3), _UNKNOWN_COLOUR, np.uint8)
    across, down = keyframe.picture_from_depth[[0, 1], [0, 1]]
    small_wh = (max(1, round(picture.shape[1] / across)), max(1, round(picture.shape[0] / down)))
    small = cv2.resize(picture, small_wh, interpolation=cv2.INTER_AREA if min(across, down) > 1 else cv2.INTER_CUBIC)
    # pixel centres at integer + 0.5: pixel i of the depth shows what lies at that place of the picture
    left, top = keyframe.picture_from_depth[:2, 2] / np.array([across, down])
    u = (np.arange(width) + left).astype(np.float32)
    v = (np.arange(height) + top).astype(np.float32)
    at_u, at_v = np.meshgrid(u, v)
    return np.asarray(cv2.remap(small, at_u, at_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
