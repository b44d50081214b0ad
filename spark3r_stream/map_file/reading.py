"""A map file read back. It may come from a stranger: whatever is not as a map is written is a MapFileError."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import Features
from spark3r_core.features.tracks import Tracks
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap, TrackedEdge
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.checks import check_picture, check_values
from spark3r_stream.map_file.header import Header
from spark3r_stream.map_file.layout import MAX_BYTES
from spark3r_stream.map_file.packing import Arrays, unpacked_depth
from spark3r_stream.map_file.saved_map import SavedMap
from spark3r_stream.map_file.tensors import read_tensors


def read_map(path: Path) -> SavedMap:
    """Raises MapFileError, one line that names the file, for anything but a whole map."""
    data = _bytes_of(path)
    try:
        return parsed_map(data)
    except ValueError as error:
        raise MapFileError(f"cannot read the map {path}: {error}") from None


def parsed_map(data: bytes) -> SavedMap:
    """A map from the bytes of its file. Raises ValueError."""
    header, arrays = read_tensors(data)
    check_values(header, arrays)
    return SavedMap(unpacked(header, arrays), header.facts, hashlib.sha256(data).hexdigest())


def unpacked(header: Header, arrays: Arrays) -> KeyframeMap:
    """The map of arrays that were checked. Raises ValueError for a picture that is none."""
    ids = arrays["keyframe.frame_id"].tolist()
    depth_parts = _parts(arrays["keyframe.depth_hw"].astype(np.int64).prod(1))
    feature_parts = _parts(arrays["keyframe.features"])
    picture_parts = _parts(arrays["keyframe.picture_bytes"])
    keyframes = {}
    for slot, frame_id in enumerate(ids):
        hw = tuple(arrays["keyframe.depth_hw"][slot].tolist())
        maps, rows, pixels = depth_parts[slot], feature_parts[slot], picture_parts[slot]
        picture = arrays["picture"][pixels].tobytes()
        check_picture(picture, header.picture_hw)

        def row(name: str, slot: int = slot) -> NDArray[np.float64]:
            return np.array(arrays[name][slot], np.float64)

        keyframes[frame_id] = Keyframe(
            frame_id,
            float(row("keyframe.time_s")),
            row("keyframe.world_from_camera"),
            float(row("keyframe.scale")),
            unpacked_depth(arrays["depth"][maps], float(row("keyframe.depth_unit"))).reshape(hw),
            arrays["confidence"][maps].astype(np.float32).reshape(hw),
            row("keyframe.depth_intrinsics"),
            row("keyframe.picture_from_depth"),
            Features(
                np.array(arrays["feature.place"][rows], np.float32),
                np.array(arrays["feature.histogram"][rows], np.uint8),
                np.array(arrays["feature.size"][rows], np.float32),
            ),
            np.array(arrays["feature.depth"][rows], np.float64),
            picture,
        )
    frame_ids = np.array(ids, np.int64)
    track, slots, feature = arrays["sighting"].astype(np.int64).T
    return KeyframeMap(
        keyframes,
        Tracks.of(track, frame_ids[slots], feature),
        [
            TrackedEdge(ids[first], ids[second], np.array(pose), np.array(information))
            for (first, second), pose, information in zip(
                arrays["edge.ends"].tolist(), arrays["edge.second_from_first"], arrays["edge.information"], strict=True
            )
        ],
        header.focal,
        header.focal_std,
        header.settled_focal,
        header.given_camera,
        arrays["network_focal"].tolist(),
        {(ids[first], ids[second]) for first, second in arrays["pair"].tolist()},
        header.picture_hw,
    )


def _parts(lengths: NDArray[Any]) -> list[slice]:
    ends = np.cumsum(lengths.astype(np.int64)).tolist()
    return [slice(end - length, end) for end, length in zip(ends, lengths.tolist(), strict=True)]


def _bytes_of(path: Path) -> bytes:
    """All of a file that is small enough to be a map. A device or a pipe would never end: it is not opened for long."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise MapFileError(f"cannot read the map {path}: it is a folder or a device")
            if status.st_size > MAX_BYTES:
                raise MapFileError(
                    f"cannot read the map {path}: it has {status.st_size} bytes; a map has at most {MAX_BYTES}"
                )
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise MapFileError(f"cannot read the map {path}: {getattr(error, 'strerror', None) or error}") from None
