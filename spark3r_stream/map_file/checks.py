"""What the numbers of a map file may be. Types and shapes were looked at before; this is about values."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_stream.map_file.header import Header
from spark3r_stream.map_file.layout import MAX_DEPTH_SIDE, MAX_FEATURES_EACH
from spark3r_stream.map_file.packing import Arrays

Values = NDArray[Any]

FAR = 1e9  # units; nothing is farther
LEAST, MOST = 1e-9, 1e9  # of scales
_ROTATION_TOLERANCE = 1e-4
_SYMMETRY = 1e-6  # of the largest entry


def check_values(header: Header, arrays: Arrays) -> None:
    """Raises ValueError naming the tensor that says what no map does."""
    _check_keyframes(header, arrays)
    _check_maps(arrays)
    _check_features(header, arrays)
    _check_links(header, arrays)
    focals = arrays["network_focal"]
    _require(_within(focals, 1e-3, 1e7), "network_focal", "focal lengths in pixels")


def check_picture(data: bytes, picture_hw: tuple[int, int]) -> None:
    """Raises ValueError if a picture is no JPEG of that size; only its header is read. Empty: it was not kept."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        return
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            size, mode = image.size, image.mode
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise ValueError("a picture in it is no JPEG") from None
    if size != picture_hw[::-1] or mode not in ("RGB", "L"):
        raise ValueError(
            f"a picture in it has {size[0]}x{size[1]} pixels; expected {picture_hw[1]}x{picture_hw[0]} in RGB"
        )


def _check_keyframes(header: Header, arrays: Arrays) -> None:
    ids: Values = arrays["keyframe.frame_id"]
    _require((ids >= 0) & (ids < 2**40), "keyframe.frame_id", "ids below 2^40")
    _require(np.diff(ids) > 0, "keyframe.frame_id", "ascending ids")
    _require(_within(arrays["keyframe.time_s"], -5e9, 5e9), "keyframe.time_s", "seconds")
    _require(_rigid(arrays["keyframe.world_from_camera"]), "keyframe.world_from_camera", "rigid poses")
    _require(_within(arrays["keyframe.scale"], LEAST, MOST), "keyframe.scale", f"scales from {LEAST:g} to {MOST:g}")
    for name in ("keyframe.depth_intrinsics", "keyframe.picture_from_depth"):
        _require(_pixel_maps(arrays[name]), name, "matrices [[fx 0 cx] [0 fy cy] [0 0 1]]")
    lengths: Values = arrays["keyframe.picture_bytes"]
    _require(lengths >= 0, "keyframe.picture_bytes", "lengths")
    _require(
        lengths.sum(dtype=np.int64) == header.counts["picture_bytes"], "keyframe.picture_bytes", "their sum to fit"
    )


def _check_maps(arrays: Arrays) -> None:
    sides: Values = arrays["keyframe.depth_hw"].astype(np.int64)
    _require((sides >= 1) & (sides <= MAX_DEPTH_SIDE), "keyframe.depth_hw", f"sides up to {MAX_DEPTH_SIDE}")
    _require(sides.prod(1).sum() == len(arrays["depth"]), "keyframe.depth_hw", "their sum to fit")
    _require(_within(arrays["keyframe.depth_unit"], 2.0**-100, 2.0**100), "keyframe.depth_unit", "positive units")
    _require(_within(arrays["depth"], 0, 65504), "depth", "distances, 0 where unknown")
    _require(_within(arrays["confidence"], 0, 1), "confidence", "numbers from 0 to 1")


def _check_features(header: Header, arrays: Arrays) -> None:
    each: Values = arrays["keyframe.features"].astype(np.int64)
    _require((each >= 0) & (each <= MAX_FEATURES_EACH), "keyframe.features", f"at most {MAX_FEATURES_EACH}")
    _require(each.sum() == header.counts["features"], "keyframe.features", "their sum to fit")
    height, width = header.picture_hw
    places: Values = arrays["feature.place"]
    inside = _within(places, -1, np.array([width + 1, height + 1]))
    _require(inside, "feature.place", f"places in a picture of {width}x{height}")
    _require(_within(arrays["feature.size"], 0, 1e5), "feature.size", "diameters in pixels")
    depth: Values = arrays["feature.depth"]
    _require(np.isnan(depth) | ((depth > 0) & (depth < np.inf)), "feature.depth", "distances, nan where unknown")


def _check_links(header: Header, arrays: Arrays) -> None:
    """Sightings, pairs and edges name keyframes and features that are there."""
    keyframes = header.counts["keyframes"]
    track, slot, feature = arrays["sighting"].astype(np.int64).T
    each: Values = arrays["keyframe.features"].astype(np.int64)
    _require((slot >= 0) & (slot < keyframes), "sighting", "keyframes that are there")
    _require((feature >= 0) & (feature < each[slot]), "sighting", "features that are there")
    if len(track):
        step = np.diff(track)
        in_order = track[0] == 0 and bool(((step == 1) | ((step == 0) & (np.diff(slot) > 0))).all())
        _require(in_order, "sighting", "tracks from 0 on, each keyframe of one once, in order")
        _require(np.bincount(track) >= 2, "sighting", "tracks that two keyframes see")
        _require(len(np.unique(np.cumsum(each)[slot] - feature)) == len(slot), "sighting", "no feature in two tracks")
    for name in ("pair", "edge.ends"):
        ends: Values = arrays[name].astype(np.int64)
        _require((ends >= 0) & (ends < keyframes), name, "keyframes that are there")
        _require(ends[:, 0] != ends[:, 1], name, "two keyframes")
    pairs: Values = arrays["pair"].astype(np.int64)
    _require(np.diff(pairs[:, 0] * keyframes + pairs[:, 1]) > 0, "pair", "each pair once, in order")
    _require(pairs[:, 0] < pairs[:, 1], "pair", "the earlier keyframe first")
    _require(_rigid(arrays["edge.second_from_first"]), "edge.second_from_first", "rigid poses")
    information: Values = arrays["edge.information"]
    size = np.abs(information).max((1, 2), initial=0.0)
    even = np.abs(information - information.transpose(0, 2, 1)).max((1, 2), initial=0.0) <= _SYMMETRY * size
    _require(np.isfinite(size) & even, "edge.information", "symmetric matrices")


def _within(values: Values, low: Any, high: Any) -> Values:
    return np.asarray((values >= low) & (values <= high))


def _rigid(poses: Values) -> Values:
    """(N,)"""
    finite = np.isfinite(poses).all((1, 2)) & (np.abs(poses).max((1, 2), initial=0.0) <= FAR)
    return np.array(
        [bool(ok) and se3.is_se3(pose, _ROTATION_TOLERANCE) for ok, pose in zip(finite, poses, strict=True)]
    )


def _pixel_maps(matrices: Values) -> Values:
    """(N,)"""
    plain = np.zeros((3, 3), bool)
    plain[[0, 1], [0, 1]] = plain[:2, 2] = True
    rest = np.where(plain, 0.0, matrices)
    rest[:, 2, 2] -= 1
    positive = _within(matrices[:, [0, 1], [0, 1]], 1e-6, 1e9).all(1)
    return np.asarray(positive & _within(matrices[:, :2, 2], -FAR, FAR).all(1) & (rest == 0).all((1, 2)))


def _require(holds: Any, name: str, expected: str) -> None:
    if not np.all(holds):
        raise ValueError(f"tensor {name} holds what no map does; expected {expected}")
