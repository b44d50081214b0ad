"""`spark3r demo`: the whole product on one machine, with nothing to download and the truth to compare with.

The engine maps a synthetic room that the bundled network never saw in training and publishes; a second process
subscribes; afterwards the final trajectory is compared with the exact one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.alignment import align_points
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.synthetic.seeds import ACCEPTANCE
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import RunConfig
from spark3r_stream.errors import StreamError
from spark3r_stream.files import open_new
from spark3r_stream.map.trajectory import Trajectory, read_trajectory
from spark3r_stream.outputs.json_files import write_json
from spark3r_stream.sources.open import open_source
from spark3r_stream.sources.options import SourceOptions

FRAMES_APART = 8
LISTENER_END_S = 20.0


def demo_command(out: Path, frames: int) -> int:
    """Run, receive, compare; prints where the results are. Exit code 1 when the second process missed a frame."""
    from spark3r_stream.cli.run import run_command

    out.mkdir(parents=True, exist_ok=True)
    uri = f"synthetic:room?seed={ACCEPTANCE[0]}&frames={frames}&kind=handheld"
    endpoint = f"ipc://{(out / 'demo.sock').absolute()}"
    received_path = out / "received.jsonl"
    print(f"mapping {uri} with the bundled network; a second process listens on {endpoint}", file=sys.stderr)
    with open_new(received_path) as received_file:
        command = [sys.executable, "-m", "spark3r_stream.cli.main", "echo", endpoint, "--json", "--timeout", "120"]
        listener = subprocess.Popen(command, stdout=received_file)
        try:
            code = run_command(RunConfig(source=uri, publish=endpoint, out=out))
            listener.wait(LISTENER_END_S)
        finally:
            if listener.poll() is None:
                listener.kill()
    if code != 0:
        return code
    received = [json.loads(line) for line in received_path.read_text().splitlines()]
    print(f"the second process received {len(received)} of {frames} frames")
    report = compare(read_trajectory(out / "trajectory.txt"), uri)
    write_json(out / "accuracy.json", report)
    print(
        f"trajectory.txt against the truth: ATE {report['ate']:.3f} of a spread of {report['spread']:.3f} "
        f"({100 * report['ate'] / report['spread']:.0f} %, Sim(3)-aligned); rotation {FRAMES_APART} frames apart "
        f"{report['rotation_deg']:.2f} deg (predicting no motion: {report['rotation_no_motion_deg']:.2f} deg)"
    )
    print(f"results: {out}/  (preview.png, cloud.ply, trajectory.txt, intrinsics.json, stats.json, accuracy.json)")
    return 0 if len(received) == frames else 1


def compare(trajectory: Trajectory, uri: str) -> dict[str, float]:
    """ATE after Sim(3), spread of the true positions, and median rotation error between frames some apart."""
    if len(trajectory) <= FRAMES_APART:
        raise StreamError(f"only {len(trajectory)} frames have a pose; nothing to compare")
    with_truth = open_source(uri, SourceOptions(), SystemClock())
    truth_all = with_truth.ground_truth  # type: ignore[attr-defined]
    with_truth.close()
    rows = [int(np.abs(truth_all.pts_ns - time_ns).argmin()) for time_ns in trajectory.time_ns]
    truth, estimate = truth_all.world_from_camera[rows], trajectory.world_from_camera
    centres = truth[:, :3, 3]
    try:
        aligned = align_points(estimate[:, :3, 3], centres, rounds=1)
        residuals = aligned.target_from_source.apply_to_points(estimate[:, :3, 3]) - centres
    except GeometryError:  # a path on a line or in one place cannot be aligned: it counts as no motion
        residuals = centres.mean(0) - centres

    def relative(poses: np.ndarray) -> np.ndarray:
        return np.swapaxes(poses[:-FRAMES_APART, :3, :3], 1, 2) @ poses[FRAMES_APART:, :3, :3]

    errors = rotation_angle(np.swapaxes(relative(truth), 1, 2) @ relative(estimate))
    return {
        "frames": len(trajectory),
        "ate": float(np.sqrt(np.mean(np.sum(residuals**2, 1)))),
        "spread": float(np.sqrt(np.mean(np.sum((centres - centres.mean(0)) ** 2, 1)))),
        "rotation_deg": float(np.degrees(np.median(errors))),
        "rotation_no_motion_deg": float(np.degrees(np.median(rotation_angle(relative(truth))))),
    }
