"""How well each source of a scale knows it, on synthetic worlds: tag, height, way, distance, depth.

    python tools/eval_metric.py OUT.json                             # the worlds of WORLDS
    python tools/eval_metric.py OUT.json --worlds room:3:loop,room:5:robot --frames 240

Each world is run once with all of them, and then each is asked what it makes of the final map. A unit of a synthetic
world counts as a metre, and the truth is the similarity from the map's keyframes to the world's: frames in between are
placed by tracking, to centimetres, and would blur it by percents. Beside the errors stands what no source can mend:
how much the map's own scale drifts, from its first half to its second, and from all of it to where the tag is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import umeyama
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.metric.distance import NamedPoint
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.scale import joined
from spark3r_core.metric.sensor_depth import SensorDepth
from spark3r_core.metric.tags import TagDetector, TagSpec
from spark3r_core.models.interface import Backbone
from spark3r_core.models.registry import load_model
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.map_gauge import EVERY
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.frame import Frame
from tools.evaluation.tracked_run import HeldSource, run_tracked

Array = NDArray[np.float64]

WORLDS = "room:21:loop,room:22:handheld,room:23:wander,room:24:orbit,room:25:robot,room:26:loop,corridor:27:robot"
TAG = TagSpec("36h11", 0.3)
SHARE = 0.1  # of the frames that show the tag
SENSOR_EVERY = 20  # frames with a depth image
PICTURE_HW, FPS = (480, 640), 30.0
SOURCES = {  # by what their evidence is called
    "tag": r"tag", "height": r"camera height", "baseline": r" m from [0-9.]+ s", "distance": r" m from \d+:",
    "sensor": r"depth images",
}  # fmt: skip
LEAST_APART_DEPTHS = 0.5  # between the two points of a distance, of how far the further one is away
CORNERS, SMOOTH = 300, 8  # of a picture, and pixels around one on a surface that is smooth
AROUND = 8  # keyframes nearest to where the tag is seen


class RenderedSensor:
    """True depth as a sensor has it: in millimetres, with noise that grows with its square, up to 8 m."""

    def __init__(self, sequence: SyntheticSequence) -> None:
        rng = np.random.default_rng(sequence.seed)
        self._images: dict[int, NDArray[np.float32]] = {}
        for index in range(0, len(sequence), SENSOR_EVERY):
            true = sequence.frame(index)[1]
            near = np.where(np.isfinite(true) & (true < 8), true, 0).astype(np.float64)
            noisy = near + rng.normal(size=near.shape) * 0.0012 * np.square(near)
            self._images[index] = (np.round(noisy * 1000) / 1000).astype(np.float32)

    def of(self, frame: Frame, size: tuple[int, int]) -> SensorDepth | None:
        depth_m = self._images.get(frame.picture_number)
        return None if depth_m is None else SensorDepth(frame.frame_id, depth_m)


def named_distance(sequence: SyntheticSequence, index: int) -> tuple[NamedPoint, NamedPoint, float]:
    """Two pixels of a picture, as docs/metres.md asks a user to take them: apart, by at least `LEAST_APART_DEPTHS` of
    how far they are away, each on a corner of what is painted on something smooth."""
    image, depth, _, camera = sequence.frame(index)
    depth = depth.astype(np.float64)
    grey, rng = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.random.default_rng(sequence.seed)
    corners = cv2.goodFeaturesToTrack(grey, CORNERS, 0.05, 10).reshape(-1, 2)
    smooth = [
        (x, y) for x, y in corners.round().astype(int)
        if SMOOTH <= x < PICTURE_HW[1] - SMOOTH and SMOOTH <= y < PICTURE_HW[0] - SMOOTH
        and np.isfinite(around := depth[y - SMOOTH : y + SMOOTH + 1, x - SMOOTH : x + SMOOTH + 1]).all()
        and np.ptp(around) < 0.06 * around.mean()
    ]  # fmt: skip
    pairs = [(a, b) for i, a in enumerate(smooth) for b in smooth[:i]]
    for which in rng.permutation(len(pairs)):
        x, y = np.array(pairs[which]).T
        rays = np.linalg.solve(camera, np.stack([x + 0.5, y + 0.5, [1.0, 1.0]])).T
        metres = float(np.linalg.norm(np.diff(rays * depth[y, x][:, None], axis=0)))
        if metres >= LEAST_APART_DEPTHS * depth[y, x].max():
            first, second = (NamedPoint(index, float(u), float(v)) for u, v in zip(x, y, strict=True))
            return first, second, metres
    raise SystemExit(f"frame {index} of world {sequence.seed} shows no two points for a distance")


def tagged_images(world: str, frames: int) -> tuple[SyntheticSequence, list[NDArray[np.uint8]], range]:
    """The world without a tag; its pictures, of which a tenth show one; and which do: where something flat is looked
    at, as near to the middle of the path as there is such a place."""
    kind, seed, path = world.split(":")

    def rendered(**tag: Any) -> SyntheticSequence:
        return SyntheticSequence(int(seed), frames, path, PICTURE_HW, world_kind=kind, **tag)

    plain, half = rendered(), max(1, round(SHARE * frames / 2))
    for at in sorted(range(0, frames, 5), key=lambda one: abs(one - frames // 2)):
        try:
            tagged = rendered(tag=TAG.size_m, tag_at=at)
        except GeometryError:
            continue
        shown, detector = range(max(0, at - half), min(frames, at + half)), TagDetector(TAG)
        tries = [bool(detector(tagged.frame(index)[0])) for index in shown[::EVERY]]
        if sum(tries) >= 0.8 * len(tries):
            return plain, [(tagged if i in shown else plain).frame(i)[0] for i in range(frames)], shown
    raise SystemExit(f"{world}: nowhere for a tag")


def evaluate(model: Backbone, world: str, frames: int, *, camera_is_given: bool) -> dict[str, Any]:
    sequence, images, shown = tagged_images(world, frames)
    truth = sequence.world_from_camera
    ends = frames // 6, 5 * frames // 6
    way = float(np.linalg.norm(truth[ends[1], :3, 3] - truth[ends[0], :3, 3]))
    height = float(np.median(-truth[:, 1, 3]))  # y points down, the floor is at 0
    baseline, distance = (ends[0] / FPS, ends[1] / FPS, way), named_distance(sequence, frames // 4)
    options = MetricOptions(TAG, "wall", camera_height_m=height, baseline=baseline, distance=distance)
    camera = sequence.camera if camera_is_given else None
    engine = TrackingReconstructor(LocalMapper(model, MemoryConfig(max_new_frames=1)), camera=camera, metric=options)
    engine.listen_to_depth(RenderedSensor(sequence))
    try:
        run = run_tracked(HeldSource("metric", images, FPS), engine)
    finally:
        engine.close()
    lies = {frame_id: submap.part_from_submap for frame_id, submap in engine._map.submaps.items()}
    views = [one.camera for one in run.collected.results if one.camera is not None and one.frame_id in lies]
    matrix = views[-1].matrix
    ids = sorted(lies)
    estimate, true = np.stack([lies[i].translation for i in ids]), truth[ids, :3, 3]
    found = umeyama(estimate, true)
    off = np.linalg.norm(found.apply_to_points(estimate) - true, axis=1)
    near = np.argsort(np.abs(np.array(ids) - np.mean(shown)))[:AROUND]
    said = engine._gauge.part.metric.scales(lies, matrix)
    report: dict[str, Any] = {
        "world": world,
        "keyframes": len(ids),
        "parts": len(set(run.collected.part_of.values())),
        "keyframe_rms_of_spread": float(np.sqrt(np.square(off).mean() / np.square(true - true.mean(0)).sum(1).mean())),
        "focal_error": float(matrix[0, 0] / sequence.intrinsics[0, 0] - 1),
        "height": height,
        "height_varies": float(np.ptp(truth[:, 1, 3])),
        "baseline": way,
        "drift_of_halves": _drift(estimate, true),
        "drift_at_tag": float(umeyama(estimate[near], true[near]).scale / found.scale - 1),
    }
    for name, words in {**SOURCES, "all": ""}.items():
        scale = joined([one for one in said if re.search(words, one.source)])
        error = None if scale is None else scale.metres_per_unit / found.scale - 1
        report[name] = None if scale is None else {"error": error, "std": scale.log_std}
    return report


def _drift(estimate: Array, truth: Array) -> float:
    """Length of the path's second half over its first, against the truth's."""
    half = len(estimate) // 2

    def ratio(path: Array) -> float:
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        return float(steps[half:].sum() / steps[:half].sum())

    return ratio(estimate) / ratio(truth) - 1


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """By source: median and largest absolute error, and the share of worlds within two of its deviations."""
    found: dict[str, Any] = {}
    for name in [*SOURCES, "all"]:
        said = [one[name] for one in reports if one[name] is not None]
        errors, stds = (np.abs([one[what] for one in said]) for what in ("error", "std"))
        found[name] = {
            "worlds": len(said),
            "median": float(np.median(errors)),
            "largest": float(errors.max()),
            "within_2_std": float((errors < 2 * stds).mean()),
        } if said else None  # fmt: skip
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--worlds", default=WORLDS, help="KIND:SEED:PATH, by commas")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--camera", action="store_true", help="the camera is known")
    given = parser.parse_args(arguments)
    model, reports = load_model("bundled", device="cpu"), []
    for world in given.worlds.split(","):
        reports.append(evaluate(model, world, given.frames, camera_is_given=given.camera))
        print(json.dumps(reports[-1]), flush=True)
        given.out.write_text(json.dumps({"summary": summary(reports), "worlds": reports}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
