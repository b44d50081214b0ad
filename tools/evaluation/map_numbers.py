"""What became of a map: revisits found, false loops, errors with loops and without, losses survived."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.stream.adjustment import LEAST_SHARED
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_stream.wire.messages import FrameResult, TrackingState
from tools.evaluation import metrics
from tools.evaluation.map_streams import MapStream
from tools.evaluation.tracked_run import TrackedRun, path_numbers, states_of
from tools.evaluation.truth_of_states import wrong_tracking

Array = NDArray[np.float64]
Pairs = list[tuple[int, int]]
REVISIT, FALSE_BELOW, WITHIN = 0.5, 0.05, 3  # overlaps; keyframes
FALSE_FROM = 0.06  # of the width, by which a feature is not where it truly went; depth here is coarse
MET_STEP = 3  # frames between those asked whether they show what was seen before
FOUND_WITHIN, TOLD_WITHIN = 15, 10  # frames: what issue 13 asks for
ATE_OF_PATH, ATE_OF_OFF = 0.006, 0.5


def run_numbers(run: TrackedRun, stream: MapStream) -> dict[str, Any]:
    """States, maps begun, and ATE of the final map over the true path, of its keyframes and of all frames; share of the
    frames that say TRACKING and are wrong."""
    final, frames = run.collected.final(), np.flatnonzero(~stream.dark)
    truth, length = stream.truth[frames], metrics.path_length(stream.truth)
    keyframes = {one: final[one] for one in run.collected.keyframe_ids if one in final}
    every, only = (path_numbers(poses, frames, truth, 1) for poses in (final, keyframes))
    return {
        "states": states_of(run.collected.results),
        "parts": len(set(run.collected.part_of.values())),
        "ate_of_path": None if every is None else round(every["ate"] / length, 5),
        "keyframes_ate_of_path": None if only is None else round(only["ate"] / length, 5),
        "wrong_tracking": wrong_tracking(run.collected, dict(zip(frames.tolist(), truth, strict=True))).get(
            "wrong_share"
        ),
    }


def places(stream: MapStream, world: KeyframeMap, keyframes: list[int], loops: Pairs, apart: int) -> dict[str, Any]:
    """True revisits and what found them; loops, and which of them are false; pairs of keyframes that tracks of features
    join, and how many of these are false: most of the features are not the same thing.

    A revisit is a pair of keyframes, `apart` frames or more apart, of which half of one is seen in the other. It is
    found when a loop was closed within three keyframes of it, or when tracks of features truly join the two.
    """
    tracks, revisits = world.tracks, _true_revisits(stream, keyframes, apart)
    place = {frame_id: i for i, frame_id in enumerate(keyframes)}
    closed = [loop for loop in loops if loop[0] in place and loop[1] in place]

    def by_loop(pair: tuple[int, int]) -> bool:
        return any(all(abs(place[a] - place[b]) <= WITHIN for a, b in zip(pair, loop, strict=True)) for loop in closed)

    def by_tracks(pair: tuple[int, int]) -> bool:
        return tracks.shared(pair[1]).get(pair[0], 0) >= LEAST_SHARED and not _is_false(stream, world, pair)

    found = [(by_loop(pair), by_tracks(pair)) for pair in revisits]
    false = [pair for pair in loops if max(stream.overlap(*pair), stream.overlap(*pair[::-1])) < FALSE_BELOW]
    joined = tracks.covisibility(LEAST_SHARED)
    return {
        "keyframes": len(keyframes),
        "revisits": len(revisits),
        "revisits_found": sum(a or b for a, b in found),
        "found_by_loops": sum(a for a, _ in found),
        "loops": len(loops),
        "false_loops": false,
        "tracked_pairs": len(joined),
        "false_tracked_pairs": sum(_is_false(stream, world, pair) for pair in joined),
    }


def _is_false(stream: MapStream, world: KeyframeMap, pair: tuple[int, int]) -> bool:
    """Whether most of the features that tracks join in these two keyframes are not one thing."""
    track, keyframe, feature = world.tracks.seen_by(pair, 2)
    of = [dict(zip(track[keyframe == one].tolist(), feature[keyframe == one].tolist(), strict=True)) for one in pair]
    both = sorted(of[0].keys() & of[1].keys())
    first, second = (
        world.keyframes[one].features.places[[known[track] for track in both]].astype(np.float64)
        for one, known in zip(pair, of, strict=True)
    )
    off = np.linalg.norm(stream.seen_at(*pair, first)[0] - second, axis=1)
    return bool(np.mean(~(off <= FALSE_FROM * stream.images.shape[2])) > 0.5)


def _true_revisits(stream: MapStream, keyframes: list[int], apart: int) -> Pairs:
    """Pairs of keyframes (earlier, later): for each later one the earlier one that shares most with it."""
    found = []
    for later in keyframes:
        earlier = [one for one in keyframes if later - one >= apart]
        near = [one for one in earlier if stream.truth[one, :3, 2] @ stream.truth[later, :3, 2] > 0.5]
        shared = {one: stream.overlap(one, later) for one in near}
        best = max(shared, key=lambda one: shared[one], default=None)
        if best is not None and shared[best] >= REVISIT:
            found.append((best, later))
    return found


def after_loss(run: TrackedRun, stream: MapStream, loops: Pairs) -> dict[str, Any]:
    """What happened from the end of the darkness, or from the kidnap, on. Old maps are those that had begun before; a
    run may have given one up and begun another. As frames from there: met_after, the first that truly shows half of
    what a keyframe before shows; found_again_after, the first that is TRACKING in an old map; told_after, the first
    that is not TRACKING or lies in a new one; joined_after, the later keyframe of the first loop between two maps.
    wrong: share of the frames that are TRACKING in an old map on a keyframe with which they truly share less than a
    twentieth: the camera is not where the map says. How far it is off there is the business of ATE."""
    began, collected = stream.began, run.collected
    assert began is not None
    parts = collected.part_of
    submap_of = {one.frame_id: one.submap for one in collected.results if one.valid}
    old = {parts[one.submap] for one in collected.results if one.valid and one.frame_id < began}
    later = [one for one in collected.results if one.frame_id >= began]
    tracking = [one for one in later if one.valid and one.state is TrackingState.TRACKING]
    there = [one for one in tracking if parts[one.submap] in old]
    again = [one.frame_id for one in there]
    told = [one.frame_id for one in later if one.frame_id not in again]
    across = [b for a, b in loops if {a, b} <= submap_of.keys() and parts[submap_of[a]] != parts[submap_of[b]]]
    before = [one for one in collected.keyframe_ids if one < began]
    met = (
        frame
        for frame in range(began, len(stream.dark), MET_STEP)
        if any(stream.overlap(one, frame) >= REVISIT for one in before)
    )

    def after(frame: int | None) -> int | None:
        return None if frame is None else frame - began

    return {
        "met_after": after(next(met, None)),
        "found_again_after": after(min(again, default=None)),
        "told_after": after(min(told, default=None)),
        "joined_after": after(min(across, default=None)),
        "wrong": round(sum(not _shares(stream, one) for one in there) / max(1, len(there)), 4),
    }


def _shares(stream: MapStream, result: FrameResult) -> bool:
    """Whether a frame truly sees anything of what its keyframe sees."""
    key, frame = result.keyframe_id, result.frame_id
    assert key is not None
    return max(stream.overlap(key, frame), stream.overlap(frame, key)) >= FALSE_BELOW


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all seeds of one world; counts as [such, of]."""
    revisits = sum(row["revisits"] for row in rows)
    summary: dict[str, Any] = {
        "false_loops": sum(len(row["false_loops"]) for row in rows),
        "false_tracked_pairs": sum(row["false_tracked_pairs"] for row in rows),
        "revisits": revisits,
        "recall": round(sum(row["revisits_found"] for row in rows) / revisits, 3) if revisits else None,
    }
    for state in ("on", "off"):
        for which in ("ate_of_path", "keyframes_ate_of_path", "wrong_tracking"):
            values = [row[state][which] for row in rows if row[state] is not None and row[state][which] is not None]
            if values:
                summary[f"{which}_{state}"] = {
                    "median": float(np.median(values)), "min": min(values), "max": max(values)
                }  # fmt: skip
    which = "keyframes_ate_of_path"
    pairs = [(row["on"][which], row["off"][which]) for row in rows if row["off"] is not None]
    if pairs:
        good = [
            on is not None and off is not None and on <= ATE_OF_PATH and on <= ATE_OF_OFF * off for on, off in pairs
        ]
        summary["loops_do"] = [sum(good), len(pairs)]
    lost = [row for row in rows if "told_after" in row]
    if lost:
        summary["found_again_in_time"] = _count(lost, "found_again_after", FOUND_WITHIN)
        summary["told_in_time"] = _count(lost, "told_after", TOLD_WITHIN)
        summary["joined"] = _count(lost, "joined_after", None)
        summary["worlds_with_wrong"] = [sum(row["wrong"] > 0 for row in lost), len(lost)]
    return summary


def _count(rows: list[dict[str, Any]], name: str, most: int | None) -> list[int]:
    """[rows whose number is at most so large, rows]."""
    return [sum(row[name] is not None and (most is None or row[name] <= most) for row in rows), len(rows)]
