"""How well each source of a scale knows it, on synthetic worlds: a tag in a tenth of the frames, a height, a distance.

Each world is run once without any of them; then each is asked what it makes of the final map. A unit of a synthetic
world counts as a metre, and the truth is the similarity from the map's path to the world's.

Usage: python tools/eval_metric.py OUT.json [--worlds room:3:loop,room:5:robot] [--frames 240] [--camera]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spark3r_core.geometry import umeyama
from spark3r_core.metric.measured import MetricMap
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.tags import TagDetector, TagSpec
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.map_gauge import EVERY
from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.outputs.built_map import BuiltMap
from spark3r_stream.running.build import build_reconstructor
from spark3r_stream.sources.synthetic import SyntheticSource

TAG = TagSpec("36h11", 0.3)
SHARE = 0.1  # of the frames that show the tag


def tagged_source(uri: str, frames: int) -> tuple[SyntheticSource, range]:
    """The world with a tag where some frame near the middle looks at something flat; and the frames that show it."""
    for at in sorted(range(0, frames, 5), key=lambda one: abs(one - frames // 2)):
        try:
            source = SyntheticSource(f"{uri}&tag={TAG.size_m}&tag_at={at}")
        except SourceError:
            continue
        half = max(1, round(SHARE * frames / 2))
        shown = range(max(0, at - half), min(frames, at + half))
        detector, tagged = TagDetector(TAG), [source.read().image for _ in range(shown.stop)][shown.start :]
        if sum(bool(detector(image)) for image in tagged[::EVERY]) >= 0.8 * len(tagged[::EVERY]):
            return SyntheticSource(f"{uri}&tag={TAG.size_m}&tag_at={at}"), shown
    raise SystemExit(f"{uri}: nowhere for a tag")


def evaluate(world: str, frames: int, given_camera: bool) -> dict[str, Any]:
    kind, seed, path = world.split(":")
    uri = f"synthetic:{kind}?seed={seed}&kind={path}&frames={frames}"
    with_tag, shown = tagged_source(uri, frames)
    plain, truth = SyntheticSource(uri), with_tag.ground_truth
    height = float(np.median(-truth.world_from_camera[:, 1, 3]))  # y points down, the floor is at 0
    times = sorted(truth.pts_ns[[frames // 6, 5 * frames // 6]].tolist())
    ends = truth.world_from_camera[[frames // 6, 5 * frames // 6], :3, 3]
    baseline = (times[0] / 1e9, times[1] / 1e9, float(np.linalg.norm(ends[1] - ends[0])))
    every = MetricOptions(tag=TAG, tag_up="wall", camera_height_m=height, baseline=baseline)
    reconstructor = build_reconstructor(RunConfig(source=uri), truth.camera if given_camera else None, 1)
    gauge = reconstructor._gauge  # type: ignore[union-attr]
    gauge.__init__(every)
    evidence, gauge.measure = gauge._metric, lambda *_, **__: ""  # gathered, and asked at the end only
    built, seen = BuiltMap(1000), 0
    while True:
        try:
            frame, bare = with_tag.read(), plain.read()
        except EndOfStream:
            break
        seen += frame.frame_id in shown
        frame = frame if frame.frame_id in shown else replace(frame, image=bare.image)
        result = reconstructor.process([reconstructor.prepare_ahead(frame)])
        _build(built, result)
    last = reconstructor.finish(adjust_all=True)
    _build(built, last)
    reconstructor.close()
    found_path = built.path()
    index = np.searchsorted(truth.pts_ns, found_path.time_ns)
    found = umeyama(found_path.centres, truth.world_from_camera[index, :3, 3])
    off = found.apply_to_points(found_path.centres) - truth.world_from_camera[index, :3, 3]
    submaps = reconstructor._map.submaps  # type: ignore[union-attr]
    lies = {frame_id: submap.part_from_submap for frame_id, submap in submaps.items()}
    camera = truth.camera.matrix if last.camera is None else last.camera.matrix
    report: dict[str, Any] = {
        "world": world,
        "keyframes": len(lies),
        "frames_with_tag": seen / frames,
        "ate": float(np.sqrt(np.square(off).sum(1).mean())),
        "camera_height": height,
        "height_varies": float(np.ptp(truth.world_from_camera[:, 1, 3])),
        "baseline": baseline[2],
        "focal_error": float(camera[0, 0] / truth.intrinsics[0, 0] - 1),
        "drift_without": _drift(found_path.centres, truth.world_from_camera[index, :3, 3]),
    }
    for name, value in _alone(every, evidence, lies, camera).items():
        if value is None:
            report[name] = None
            continue
        scale, up = value
        report[name] = {
            "error": float(scale.metres_per_unit / found.scale - 1),
            "std": scale.log_std,
            "lean_deg": None if up is None else float(np.degrees(np.arccos(np.clip(-(found.rotation @ up)[1], -1, 1)))),
        }
    return report


def _alone(every: MetricOptions, evidence: MetricMap, lies: dict, camera: np.ndarray) -> dict[str, Any]:
    """What each source says by itself, and all together."""
    parts = {"tag": ("_tags",), "height": ("_floor",), "baseline": ("_baseline",)}
    parts["all"] = ("_tags", "_floor", "_baseline")
    said = {}
    for name, kept in parts.items():
        part = MetricMap(every)
        for field in ("_tags", "_floor", "_baseline"):
            setattr(part, field, getattr(evidence, field) if field in kept else None)
        measured = part.measured(lies, camera)
        said[name] = None if measured is None else (measured.scale, measured.up)
    return said


def _drift(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Length of the path's second half over its first, against the truth's."""
    half = len(estimate) // 2

    def ratio(path: np.ndarray) -> float:
        steps = np.linalg.norm(np.diff(path[::5], axis=0), axis=1)
        return float(steps[half // 5 :].sum() / steps[: half // 5].sum())

    return ratio(estimate) / ratio(truth) - 1


def _build(built: BuiltMap, result: Any) -> None:
    for correction in result.corrections:
        built.correct(correction)
    for keyframe in result.keyframes:
        built.add_keyframe(keyframe)
    for output in result.outputs:
        built.add(output, output.result.captured_ns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--worlds", default="room:3:loop,room:4:loop,room:5:robot,corridor:6:robot")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--camera", action="store_true", help="the camera is known")
    given = parser.parse_args()
    reports = []
    for world in given.worlds.split(","):
        reports.append(evaluate(world, given.frames, given.camera))
        print(json.dumps(reports[-1]), flush=True)
        given.out.write_text(json.dumps(reports, indent=1) + "\n")


if __name__ == "__main__":
    main()
