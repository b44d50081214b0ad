"""A map as the arrays of its file. What is rounded: depth and confidence, the depth at features.

Depth is kept as float16 of a unit, a power of two near the keyframe's median: its relative step of 0.05 % is far below
any network's error, and its range of 2^±14 around the median is wider than any picture's. Confidence is in (0, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.stream.keyframe_map import Array, Keyframe, KeyframeMap
from spark3r_stream.map_file.layout import DTYPES, TENSORS

Arrays = dict[str, NDArray[Any]]
_MOST = float(np.finfo(np.float16).max)


def packed(world: KeyframeMap) -> tuple[Arrays, dict[str, int]]:
    """The arrays of a map, by the names of `layout.TENSORS`, and its counts."""
    keyframes = [world.keyframes[frame_id] for frame_id in world.order]
    slots = {keyframe.frame_id: slot for slot, keyframe in enumerate(keyframes)}
    units = [depth_unit(keyframe.depth) for keyframe in keyframes]
    edges = [edge for edge in world.edges if edge.first in slots and edge.second in slots]
    pairs = sorted(pair for pair in world.matched if pair[0] in slots and pair[1] in slots)
    arrays: dict[str, Any] = {
        "keyframe.frame_id": [keyframe.frame_id for keyframe in keyframes],
        "keyframe.time_s": [keyframe.time_s for keyframe in keyframes],
        "keyframe.world_from_camera": [keyframe.world_from_camera for keyframe in keyframes],
        "keyframe.scale": [keyframe.scale for keyframe in keyframes],
        "keyframe.depth_intrinsics": [keyframe.depth_intrinsics for keyframe in keyframes],
        "keyframe.picture_from_depth": [keyframe.picture_from_depth for keyframe in keyframes],
        "keyframe.depth_hw": [keyframe.depth.shape for keyframe in keyframes],
        "keyframe.depth_unit": units,
        "keyframe.features": [len(keyframe.features) for keyframe in keyframes],
        "keyframe.picture_bytes": [len(keyframe.picture) for keyframe in keyframes],
        "depth": _joined(
            [packed_depth(keyframe.depth, unit).ravel() for keyframe, unit in zip(keyframes, units, strict=True)]
        ),
        "confidence": _joined([keyframe.confidence.ravel() for keyframe in keyframes]),
        "feature.place": _joined([keyframe.features.places for keyframe in keyframes]),
        "feature.size": _joined([keyframe.features.sizes for keyframe in keyframes]),
        "feature.histogram": _joined([keyframe.features.histograms for keyframe in keyframes]),
        "feature.depth": _joined([_known(keyframe) for keyframe in keyframes]),
        "picture": np.frombuffer(b"".join(keyframe.picture for keyframe in keyframes), np.uint8),
        "sighting": _sightings(world, slots),
        "pair": [(slots[a], slots[b]) for a, b in pairs],
        "edge.ends": [(slots[edge.first], slots[edge.second]) for edge in edges],
        "edge.second_from_first": [edge.second_from_first for edge in edges],
        "edge.information": [(edge.information + edge.information.T) / 2 for edge in edges],
        "network_focal": world.network_focals,
    }
    counts = {
        "keyframes": len(keyframes),
        "depth_values": sum(keyframe.depth.size for keyframe in keyframes),
        "features": sum(len(keyframe.features) for keyframe in keyframes),
        "picture_bytes": sum(len(keyframe.picture) for keyframe in keyframes),
        "sightings": len(arrays["sighting"]),
        "pairs": len(pairs),
        "edges": len(edges),
        "network_focals": len(world.network_focals),
    }
    shaped = {}
    for name, tensor in TENSORS.items():
        values = np.asarray(arrays[name], DTYPES[tensor.kind]).reshape(tensor.sizes(counts))
        shaped[name] = np.ascontiguousarray(values)
    return shaped, counts


def depth_unit(depth: NDArray[np.float32]) -> float:
    """The power of two at or below the median depth; 1 where nothing is known."""
    known = depth[np.isfinite(depth) & (depth > 0)]
    return float(2.0 ** np.floor(np.log2(float(np.median(known))))) if known.size else 1.0


def packed_depth(depth: NDArray[np.float32], unit: float) -> NDArray[np.float16]:
    """Unknown depth becomes 0."""
    known = np.isfinite(depth) & (depth > 0)
    return np.minimum(np.where(known, depth, 0) / unit, _MOST).astype(np.float16)


def unpacked_depth(values: NDArray[np.float16], unit: float) -> NDArray[np.float32]:
    return values.astype(np.float32) * np.float32(unit)


def _known(keyframe: Keyframe) -> Array:
    """(N,) depth at features, nan where unknown."""
    depth = keyframe.feature_depth
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)


def _sightings(world: KeyframeMap, slots: dict[int, int]) -> NDArray[np.int64]:
    """(M, 3) track, keyframe, feature of the tracks that two see, tracks from zero on."""
    track, keyframe, feature = world.tracks.seen_by(list(slots), 2)
    _, number = np.unique(track, return_inverse=True)
    slot = np.array([slots[frame_id] for frame_id in keyframe.tolist()], np.int64)
    order = np.lexsort((slot, number))
    return np.stack([number[order], slot[order], feature[order]], 1) if len(order) else np.zeros((0, 3), np.int64)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[np.generic]:
    return np.concatenate(parts) if parts else np.zeros(0)
