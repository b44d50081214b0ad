"""The path of a camera, out of whatever has one: result folder, recording, TUM or KITTI file, synthetic world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.user_paths import expand_home
from spark3r_stream.errors import OutputError
from spark3r_stream.map.final_path import FinalPath
from spark3r_stream.map.trajectory import Trajectory, parse_seconds, read_trajectory
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.messages import (
    Calibration,
    FrameResult,
    MapCorrection,
    MapCorrections,
    PathCorrections,
    submap_frame,
)

EXPECTED = (
    "a result folder (run --out), a recording (.mcap), a TUM file (time and pose), KITTI poses (12 numbers a line;"
    " times.txt beside them) or synthetic:…"
)
MAX_LINES = 10_000_000


def read_path(name: str) -> tuple[Trajectory, bool]:
    """The trajectory, and whether its times mean anything: of KITTI poses without times they are the numbers of the
    lines. Raises OutputError or RecordingError for what holds no path."""
    if name.startswith("synthetic:"):
        return _rendered_path(name), True
    path = expand_home(name)
    if path.is_dir():
        for file in ("trajectory.txt", "poses.txt", "groundtruth.txt"):
            if (path / file).is_file():
                return _text_path(path / file)
        raise OutputError(f"the folder {path} has no trajectory.txt, poses.txt or groundtruth.txt; expected {EXPECTED}")
    if not path.exists():
        raise OutputError(f"there is no {path}; expected {EXPECTED}")
    if path.suffix.lower() == ".mcap":
        return recorded_path(path), True
    return _text_path(path)


def recorded_path(path: Path) -> Trajectory:
    """Every frame of a recording as its final map has it, by its messages: as trajectory.txt of that run.

    Raises RecordingError, and OutputError for one without a single pose.
    """
    recording = Recording(path)
    settings = json.loads(recording.metadata.get("settings", "{}"))
    own_times = settings.get("pace") == "realtime" and not settings.get("live")
    said = SaidPath(own_times)
    for message in recording.messages(SaidPath.TOPICS):
        said.take(message, decode(message))
    if said.is_empty:
        raise OutputError(f"{path} holds no frame with a pose; was it made by `spark3r run --record`?")
    return said.final()


class SaidPath:
    """The path of one camera by its messages. own_times: whether frames have their source's times, or when they were
    captured."""

    TOPICS = (wire.FRAME, wire.DEPTH_CALIB, wire.MAP_CORRECTION, wire.PATH_CORRECTION)

    def __init__(self, own_times: bool) -> None:
        self._own_times = own_times
        self._path = FinalPath()
        self._placed: dict[int, MapCorrection] = {}  # newest, by submap
        self._submap_of: dict[int, int] = {}  # of a frame
        self._begun: dict[int, int] = {}  # keyframes, by the submap that begins with one

    @property
    def is_empty(self) -> bool:
        return not self._submap_of

    def take(self, message: wire.Message, content: object) -> None:
        """content: decoded; what says nothing of the path is left."""
        if isinstance(content, MapCorrections):
            for one in content.corrections:
                before = self._placed.get(one.submap)
                if before is None or one.revision >= before.revision:
                    self._placed[one.submap] = one
        elif isinstance(content, FrameResult) and content.valid and content.world_from_camera is not None:
            time_ns = content.time_ns(self._own_times)
            self._path.add(content.submap, time_ns, content.world_from_camera, content.frame_id)
            self._submap_of[content.frame_id] = content.submap
        elif isinstance(content, PathCorrections):
            for again in content.frames:
                self._path.retrack(again.frame_id, again.submap_from_camera)
        elif isinstance(content, Calibration) and content.frame_name == submap_frame(message.envelope.submap):
            self._begun[message.envelope.submap] = message.envelope.frame_id

    def final(self) -> Trajectory:
        """Every frame as the newest corrections have it."""
        for submap, frame_id in self._begun.items():
            tracked = self._submap_of.get(frame_id)
            self._path.begin(submap, frame_id, None if tracked == submap else tracked)
        return self._path.final(self._map_from_submap)

    def _map_from_submap(self, submap: int) -> Sim3:
        return self._placed[submap].map_from_submap if submap in self._placed else Sim3()


def _text_path(path: Path) -> tuple[Trajectory, bool]:
    """TUM has 8 numbers a line, KITTI 12."""
    try:
        with path.open(encoding="utf-8") as file:
            first = next((line for line in file if line.split("#", 1)[0].strip()), "")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise OutputError(f"cannot read {path}: {reason}; expected {EXPECTED}") from None
    if len(first.replace(",", " ").split()) == 12:
        return _kitti_path(path)
    trajectory = read_trajectory(path)
    if not len(trajectory):
        raise OutputError(f"{path} holds no pose; expected {EXPECTED}")
    return trajectory, True


def _kitti_path(path: Path) -> tuple[Trajectory, bool]:
    try:
        rows = np.loadtxt(path, ndmin=2, max_rows=MAX_LINES)
        if rows.shape[1] != 12:
            raise ValueError(f"{rows.shape[1]} numbers a line")
        poses = np.tile(np.eye(4), (len(rows), 1, 1))
        poses[:, :3] = rows.reshape(-1, 3, 4)
        poses = se3.require_se3(poses, "poses", tolerance=1e-2)
    except (ValueError, GeometryError) as error:
        raise OutputError(f"{path} holds no KITTI poses: {error}; expected 12 numbers a line, a 3×4 matrix") from None
    times = path.with_name("times.txt")
    if not times.is_file():
        return Trajectory(np.arange(len(poses), dtype=np.int64) * 1_000_000_000, poses), False
    try:
        seconds = [parse_seconds(word) for word in times.read_text().split()]
    except (ValueError, UnicodeDecodeError) as error:
        raise OutputError(f"{times}: {error}; expected a time in seconds per line") from None
    if len(seconds) != len(poses):
        raise OutputError(f"{times} has {len(seconds)} times and {path.name} {len(poses)} poses; expected as many")
    return Trajectory(np.array(seconds, np.int64), poses), True


def _rendered_path(uri: str) -> Trajectory:
    """The truth of a synthetic world."""
    from spark3r_stream.sources.synthetic import SyntheticSource

    truth = SyntheticSource(uri).ground_truth
    return Trajectory(truth.pts_ns, truth.world_from_camera)
