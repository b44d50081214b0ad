"""The result folder of a run: trajectory.txt, cloud.ply, intrinsics.json, stats.json, preview.png, depth/, mesh.

Poses are on disk as soon as they are added; cloud and intrinsics are rewritten after 64, 128, 256, ... frames, so that
a killed run keeps at least half of them at a cost that vanishes per frame.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.errors import GeometryError
from spark3r_stream.errors import OutputError
from spark3r_stream.files import open_new, write_whole
from spark3r_stream.map.kept_depths import KeptDepths
from spark3r_stream.map.surface import fused
from spark3r_stream.map.trajectory import Trajectory, TrajectoryWriter, write_trajectory
from spark3r_stream.outputs.built_map import BuiltMap
from spark3r_stream.outputs.intrinsics_json import write_intrinsics
from spark3r_stream.outputs.mesh_files import FIELD_BYTES, MESH_NAMES, mesh_files
from spark3r_stream.outputs.ply import write_ply
from spark3r_stream.outputs.preview import Snapshot, render_preview, write_preview
from spark3r_stream.outputs.stats_json import write_stats
from spark3r_stream.thinned import Thinned
from spark3r_stream.wire.messages import CameraView, FrameOutput, KeyframeOutput, LengthUnit, MapCorrection

log = logging.getLogger(__name__)

_FIRST_CHECKPOINT = 64
_DEPTH_BYTES = 256 << 20  # of keyframes that wait for the mesh: some five hundred
_SNAPSHOT_WIDTH = 320
_UNITS = {LengthUnit.MODEL: "model units", LengthUnit.METRE: "metres"}


class ResultWriter:
    """Writes the results of one run into `out_dir`, which is made if missing; older results there are replaced.

    max_points: of cloud.ply. save_depth: also depth/<frame_id>.npz with `depth`, `intrinsics` and, where given,
    `confidence`; float16, whose relative step of 0.05 % is well below any network's error.
    mesh: also mesh.ply and mesh.glb, of keyframes whose depth was read off several views, where they lie in the end.
    own_times: write when in its sequence a frame comes instead of when it was captured (a file played in real time).
    Raises OutputError when the folder cannot be made or written.
    """

    def __init__(
        self,
        out_dir: str | Path,
        max_points: int = 2_000_000,
        save_depth: bool = False,
        own_times: bool = False,
        mesh: bool = False,
    ) -> None:
        self.out_dir = Path(out_dir)
        self._own_times = own_times
        self._depth_dir = self.out_dir / "depth" if save_depth else None
        try:
            self.out_dir.mkdir(parents=True, exist_ok=True)
            _remove_older_depth(self.out_dir / "depth")
            for name in MESH_NAMES:  # one of an earlier run would pass for this one's
                if (self.out_dir / name).is_symlink() or (self.out_dir / name).is_file():
                    (self.out_dir / name).unlink()
            if self._depth_dir is not None:
                self._depth_dir.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the result folder {self.out_dir}: {error.strerror}") from error
        self._trajectory = TrajectoryWriter(self.out_dir / "trajectory.txt")
        self._map = BuiltMap(max_points)
        self._depths = KeptDepths(_DEPTH_BYTES) if mesh else None
        self._cameras: Thinned[CameraView] = Thinned(4096)
        self._snapshots: Thinned[Snapshot | None] = Thinned(24)
        self._submap = 0
        self._source_id = ""
        self._unit, self._z_up = LengthUnit.MODEL, False
        self._next_checkpoint = _FIRST_CHECKPOINT

    @property
    def num_frames(self) -> int:
        """Valid frames written so far."""
        return self._trajectory.count

    def add(self, output: FrameOutput, image: NDArray[np.uint8], confidence: ArrayLike | None = None) -> None:
        """One frame; a frame without a valid pose leaves no trace in the files.

        image: the source image (H, W, 3). confidence: (h, w) like output.depth, kept with --save-depth only.
        """
        result = output.result
        if not result.valid or result.world_from_camera is None:
            return
        self._source_id = result.source_id
        if result.submap != self._submap and result.keyframe_id is None:
            self._trajectory.note(f"submap {result.submap} begins: a new gauge, its place and scale are guesses")
        self._submap = result.submap
        if result.unit is not self._unit:
            self._trajectory.note(
                f"from here on lengths are {_UNITS[result.unit]}; the whole is when the run has ended"
            )
        self._unit, self._z_up = result.unit, result.map_z_up
        placed = output.map_from_submap.apply_to_poses(result.world_from_camera)
        time_ns = result.time_ns(self._own_times)
        self._trajectory.add(time_ns, placed)
        self._map.add(output, time_ns)
        if result.camera is not None:
            self._cameras.add(result.camera)
        if output.depth is not None:
            wanted = self._snapshots.wants_next()
            self._snapshots.add(
                Snapshot(result.frame_id, thumbnail(image), np.array(output.depth, np.float32)) if wanted else None
            )
            if self._depth_dir is not None:
                self._save_depth(self._depth_dir / f"{result.frame_id:06d}.npz", output, confidence)
        if self.num_frames >= self._next_checkpoint:
            self._next_checkpoint *= 2
            self._checkpoint()

    def add_keyframe(self, keyframe: KeyframeOutput) -> None:
        """A mapped keyframe: its points join the map, its depth the files."""
        self._map.add_keyframe(keyframe)
        wanted = self._snapshots.wants_next()
        snapshot = Snapshot(keyframe.frame_id, thumbnail(keyframe.image), np.array(keyframe.depth, np.float32))
        self._snapshots.add(snapshot if wanted else None)
        self._save_depth_of(keyframe)

    def refine_keyframe(self, keyframe: KeyframeOutput) -> None:
        """A keyframe that was added before, with better depth: points, picture and depth take the place of those."""
        self._map.refine_keyframe(keyframe)
        snapshot = Snapshot(keyframe.frame_id, thumbnail(keyframe.image), np.array(keyframe.depth, np.float32))
        self._snapshots.replace(lambda held: held is not None and held.frame_id == keyframe.frame_id, snapshot)
        self._save_depth_of(keyframe)
        if self._depths is not None:
            self._depths.add(keyframe)

    def retrack(self, frame_id: int, submap_from_camera: NDArray[np.float64]) -> None:
        """See `BuiltMap.retrack`."""
        self._map.retrack(frame_id, submap_from_camera)

    def correct(self, correction: MapCorrection) -> None:
        """Where a submap lies from now on."""
        self._map.correct(correction)

    def close(self, stats: Mapping[str, Any], ground_truth: Trajectory | None = None) -> None:
        """Write what is left. stats: plain JSON values. ground_truth: drawn into the preview, in any gauge.

        Mesh, picture and statistics come last: whatever is wrong with them, the map is safe by then.
        """
        self._trajectory.close()
        told = stats.get("unit")  # of the end, which may come after the last frame
        if told:
            self._unit, self._z_up = LengthUnit[told["length"].upper()], told["z_up"]
        trajectory = self._map.path()
        if self._map.has_keyframes:  # else it is what was written as it came
            write_trajectory(self.out_dir / "trajectory.txt", trajectory, self._lengths)
        self._checkpoint()
        cloud = self._map.cloud()
        length = float(np.linalg.norm(np.diff(trajectory.centres, axis=0), axis=1).sum())
        unit = _UNITS[self._unit]
        facts = f"{self.num_frames} frames  ·  {len(cloud.points):,} points  ·  path of {length:.3g} {unit}"
        title = self._source_id or "no frames"
        snapshots = [item for item in self._snapshots.items() if item is not None]
        try:
            if self._depths is not None:
                self._write_mesh(self._depths)
            page = render_preview(cloud, trajectory, snapshots, title, facts, ground_truth, unit)
            write_preview(self.out_dir / "preview.png", page)
        finally:
            write_stats(self.out_dir / "stats.json", stats)

    @property
    def _lengths(self) -> str:
        return f"lengths in {_UNITS[self._unit]}, {'z up' if self._z_up else 'OpenCV axes of the first camera'}"

    def _checkpoint(self) -> None:
        write_ply(self.out_dir / "cloud.ply", self._map.cloud(), self._lengths)
        if len(self._cameras):
            write_intrinsics(self.out_dir / "intrinsics.json", self._cameras.items())

    def _write_mesh(self, depths: KeptDepths) -> None:
        try:
            mesh = fused(depths.posed(self._map.map_from_submap), FIELD_BYTES)
        except GeometryError as error:
            log.warning("there is no mesh: %s", error)
            return
        for name, data in mesh_files(mesh).items():
            try:
                write_whole(self.out_dir / name, data)
            except OSError as error:
                raise OutputError(f"cannot write {self.out_dir / name}: {error.strerror}") from error

    def _save_depth_of(self, keyframe: KeyframeOutput) -> None:
        if self._depth_dir is not None:
            arrays: dict[str, Any] = {
                "depth": keyframe.depth,
                "intrinsics": keyframe.camera.matrix,
                "confidence": keyframe.confidence,
            }
            self._save_arrays(self._depth_dir / f"{keyframe.frame_id:06d}.npz", arrays)

    def _save_depth(self, path: Path, output: FrameOutput, confidence: ArrayLike | None) -> None:
        arrays: dict[str, Any] = {"depth": output.depth}
        if output.result.depth_camera is not None:
            arrays["intrinsics"] = output.result.depth_camera.matrix
        if confidence is not None:
            arrays["confidence"] = confidence
        self._save_arrays(path, arrays)

    @staticmethod
    def _save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
        """Depth and confidence as float16, the camera whole."""
        small = {k: np.asarray(v, np.float64 if k == "intrinsics" else np.float16) for k, v in arrays.items()}
        try:
            with BufferedWriter(open_new(path)) as file:  # type: ignore[arg-type]
                np.savez_compressed(file, **small)  # type: ignore[arg-type]
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _remove_older_depth(folder: Path) -> None:
    """Depth of an earlier run would pass for this one's. A link to another place is removed, not followed."""
    if folder.is_symlink():
        folder.unlink()
    if not folder.is_dir():
        return
    for older in folder.glob("[0-9]" * 6 + "*.npz"):
        older.unlink()
    with contextlib.suppress(OSError):  # something of the user's is in it
        folder.rmdir()


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame as wide as the preview wants it; of a thumbnail, itself."""
    from PIL import Image

    height = max(1, round(_SNAPSHOT_WIDTH * image.shape[0] / image.shape[1]))
    return np.asarray(Image.fromarray(image).resize((_SNAPSHOT_WIDTH, height), Image.Resampling.BOX))
