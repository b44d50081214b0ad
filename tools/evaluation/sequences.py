"""Sequences with ground truth: a folder as in shared/data, or a `synthetic:` URI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import read_camera
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.map.trajectory import Trajectory, match_times, read_trajectory
from spark3r_stream.sources.synthetic import parse_synthetic

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrueSequence:
    """time_ns: (n,) of every frame. truth: poses with their times. intrinsics: pixels of the frames, None if unknown.

    frames() yields RGB uint8 images in order. depth[i]() gives the true z-depth of frame i, 0 or inf where unknown.
    """

    name: str
    time_ns: NDArray[np.int64]
    truth: Trajectory
    intrinsics: Intrinsics | None
    frames: Callable[[], Iterator[NDArray[np.uint8]]]
    depth: dict[int, Callable[[], Array]] = field(default_factory=dict)

    def truth_of_frames(self, max_difference_ns: int = 10_000_000) -> tuple[NDArray[np.int64], Array]:
        """Indices of the frames that have a true pose, and those poses (m, 4, 4)."""
        frame, pose = match_times(self.time_ns, self.truth.time_ns, max_difference_ns)
        return frame, self.truth.world_from_camera[pose]


def open_sequence(what: str, depth_frames: int = 12) -> TrueSequence:
    """A folder with groundtruth.txt and timestamps.txt, or a synthetic URI (with `depth_frames` true depth maps)."""
    if what.startswith("synthetic:"):
        return _synthetic(what, depth_frames)
    folder = Path(what)
    missing = [name for name in ("groundtruth.txt", "timestamps.txt") if not (folder / name).exists()]
    if missing:
        raise SystemExit(f"{folder} has no {' and no '.join(missing)}; expected a folder as described in shared/data")
    times = np.array([round(float(line) * 1e9) for line in (folder / "timestamps.txt").read_text().split()], np.int64)
    camera = folder / "intrinsics.json"
    return TrueSequence(
        folder.name,
        times,
        read_trajectory(folder / "groundtruth.txt"),
        read_camera(camera) if camera.exists() else None,
        lambda: frames_of(folder),
        true_depth_maps(folder),
    )


def known_camera(folder: Path) -> Intrinsics | None:
    """Of intrinsics.json; None where there is none, or where nobody knows it."""
    path = folder / "intrinsics.json"
    if not path.exists() or json.loads(path.read_text()).get("fx") is None:
        return None
    return read_camera(path)


def true_depth_maps(folder: Path) -> dict[int, Callable[[], Array]]:
    """What reads the true z-depth of a frame, by its index."""
    return {int(path.stem): _depth_reader(path) for path in sorted((folder / "depth").glob("*.png"))}


def frames_of(folder: Path) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a folder in order, RGB."""
    if (folder / "frames").is_dir():
        for path in sorted((folder / "frames").iterdir()):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise SystemExit(f"{path} is not a readable image")
            yield image[..., ::-1].copy()
        return
    video = cv2.VideoCapture(str(folder / "video.mp4"))
    while True:
        good, image = video.read()
        if not good:
            break
        yield image[..., ::-1].copy()
    video.release()


def _depth_reader(path: Path) -> Callable[[], Array]:
    return lambda: cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64) / 1000.0  # millimetres, 0 = unknown


def _synthetic(uri: str, depth_frames: int) -> TrueSequence:
    spec = parse_synthetic(uri)
    sequence = SyntheticSequence(
        spec.seed, spec.frames, kind=spec.kind, image_hw=(spec.size[1], spec.size[0]), fov_deg=spec.fov_deg,
        augment=spec.augment, world_kind=spec.world, pause=spec.pause,
        lens=spec.lens, fisheye=spec.fisheye, span=spec.span, camera=spec.camera,
    )  # fmt: skip
    count = len(sequence)
    times = np.array([round(i * 1e9 / spec.fps) for i in range(count)], np.int64)
    chosen = np.unique(np.linspace(0, count - 1, min(depth_frames, count)).astype(int))
    return TrueSequence(
        f"synthetic_{spec.world}_{spec.kind}_{spec.seed}",
        times,
        Trajectory(times, sequence.world_from_camera),
        sequence.camera,
        lambda: (sequence.frame(i)[0] for i in range(count)),
        {int(i): (lambda i=int(i): sequence.frame(i)[1].astype(np.float64)) for i in chosen},
    )
