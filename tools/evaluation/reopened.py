"""A sequence in two halves: the first one mapped and saved, the second one run in the saved map, or mapped on its own
and merged. How well it fits.

The map's frame is aligned with the truth by frames of the first half alone, and errors are those of the second half.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.merging import NotMerged, merged
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.sources.counted_on import CountedOn
from tools.evaluation import metrics
from tools.evaluation.sequences import TrueSequence
from tools.evaluation.tracked_run import Collector, HeldSource, run_tracked, states_of

Array = NDArray[np.float64]


def run_halves(model: Backbone, sequence: TrueSequence, folder: Path, size: int | None) -> dict[str, Any]:
    """Numbers of the second half in the first one's frame of reference, once going on in its map (and saving it), once
    reading it only; and of both halves mapped alone and merged. folder: for the maps."""
    images = list(sequence.frames())
    half = len(images) // 2
    ids, truth = sequence.truth_of_frames()
    memory = MemoryConfig(max_new_frames=1)
    engine = TrackingReconstructor(LocalMapper(model, memory), size)
    first = run_tracked(HeldSource("first half", images[:half]), engine)
    path = folder / f"{sequence.name}.s3rmap"
    engine.save_map(path, MapFacts("first half", "video", 30.0, 0, "source", model.name, "0"), True).result()
    engine.close()
    mine = ids < half
    truth_from_map = _similarity(first.collected.final(), ids[mine], truth[mine])
    saved = read_map(path)
    row: dict[str, Any] = {
        "first_half": {
            "frames": half,
            "keyframes": len(saved.world.keyframes),
            "file_bytes": path.stat().st_size,
            "ate": _error(first.collected.final(), ids[mine], truth[mine], truth_from_map, metrics.spread(truth)),
        }
    }
    for name, is_read_only in (("goes_on", False), ("localises", True)):
        reopening = Reopening.of(saved, path.name, is_read_only=is_read_only)
        engine = TrackingReconstructor(LocalMapper(model, memory), size, reopening=reopening)
        began = time.monotonic()
        second = run_tracked(CountedOn(HeldSource("second half", images[half:]), reopening.next_frame_id), engine)
        seconds = time.monotonic() - began
        after = folder / f"{sequence.name}_{name}.s3rmap"
        if not is_read_only:
            engine.save_map(after, saved.facts, True).result()
        engine.close()
        shift = reopening.next_frame_id - half  # of a frame's id from its place in the sequence
        errors = {}
        for which, poses in (("as_published", second.collected.published), ("final", second.collected.final())):
            placed = {frame - shift: pose for frame, pose in poses.items()}
            errors[which] = _error(placed, ids[~mine], truth[~mine], truth_from_map, metrics.spread(truth))
        row[name] = {
            "localised_after": _localised_after(second.collected, reopening.next_frame_id),
            "parts": len(set(second.collected.part_of.values())),
            "frames": len(images) - half,
            "states": states_of(second.collected.results),
            "keyframes": len(second.collected.keyframe_ids) - len(saved.world.keyframes),
            "loops": sorted(set(engine.loops)),
            "fps": round((len(images) - half) / seconds, 2),
            "ate": errors,
            "saved_keyframes": len(read_map(after).world.keyframes) if after.exists() else None,
        }
    row["merged"] = _merged_halves(model, saved.world, images[half:], folder, size, ids, truth, half)
    return row


def _merged_halves(
    model: Backbone,
    first: KeyframeMap,
    images: Sequence[NDArray[np.uint8]],
    folder: Path,
    size: int | None,
    ids: NDArray[np.int64],
    truth: Array,
    half: int,
) -> dict[str, Any]:
    """The second half mapped without knowing of the first, and both maps merged. Errors are of its keyframes, the
    merged map placed by keyframes of the first half alone (frames before `half`); `second_alone` is its own map."""
    engine = TrackingReconstructor(LocalMapper(model, MemoryConfig(max_new_frames=1)), size)
    run_tracked(HeldSource("second half", images), engine)
    path = folder / "second.s3rmap"
    engine.save_map(path, MapFacts("second half", "video", 30.0, 0, "source", model.name, "0"), True).result()
    engine.close()
    second = read_map(path).world
    began = time.monotonic()
    try:
        found = merged(first, second)
    except NotMerged as error:
        return {"refused": str(error)}
    seconds = time.monotonic() - began
    place_of = {one: one for one in first.order} | {one + found.ids_shift: one + half for one in second.order}
    poses = {place_of[one]: found.map.keyframes[one].world_from_camera for one in found.map.order}
    theirs = np.isin(ids, [one + half for one in second.order])
    placed = {one + half: second.keyframes[one].world_from_camera for one in second.order}
    own = np.isin(ids, first.order)
    spread = metrics.spread(truth)
    truth_from_map = _similarity(poses, ids[own], truth[own])
    return {
        "keyframes": [len(first.order), len(second.order)],
        "pairs": len(found.pairs),
        "adjusted": found.adjusted,
        "seconds": round(seconds, 2),
        "first": _error(poses, ids[own], truth[own], truth_from_map, spread),
        "second_in_frame_of_first": _error(poses, ids[theirs], truth[theirs], truth_from_map, spread),
        "second_alone": _error(
            placed, ids[theirs], truth[theirs], _similarity(placed, ids[theirs], truth[theirs]), spread
        ),
    }


def _localised_after(collected: Collector, first_id: int) -> int | None:
    """Frames before the first that has a pose in the map that was opened."""
    opened = min(collected.part_of.values())
    for one in collected.results:
        if one.valid and collected.part_of[one.submap] == opened:
            return one.frame_id - first_id
    return None


def _similarity(poses: dict[int, Array], ids: NDArray[np.int64], truth: Array) -> Sim3:
    known = np.array([int(one) in poses for one in ids])
    estimate = np.stack([poses[int(one)] for one in ids[known]])
    return umeyama(estimate[:, :3, 3], truth[known, :3, 3])


def _error(
    poses: dict[int, Array], ids: NDArray[np.int64], truth: Array, truth_from_map: Sim3, spread: float
) -> dict[str, float] | None:
    """RMS distance of centres after this similarity; over the spread of the whole sequence, and of these frames."""
    known = np.array([int(one) in poses for one in ids], bool)
    if not known.any():
        return None
    centres = truth_from_map.apply_to_points(np.stack([poses[int(one)][:3, 3] for one in ids[known]]))
    off = float(np.sqrt(np.square(centres - truth[known, :3, 3]).sum(1).mean()))
    own = metrics.spread(truth[known])
    return {
        "frames": int(known.sum()),
        "rmse": round(off, 4),
        "of_spread": round(off / spread, 4),
        "of_own_spread": round(off / own, 4),
    }
