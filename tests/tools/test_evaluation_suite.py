"""tools/evaluate.py as it is used: one sequence with its results, and everything at once on a small scale."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from spark3r_core.synthetic.seeds import ACCEPTANCE, TRAIN, VALIDATION
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.cli import main as cli
from spark3r_stream.map.trajectory import Trajectory, read_trajectory, write_trajectory
from tools import evaluate
from tools.evaluation.comparison import result_numbers
from tools.evaluation.engine_run import engine_numbers, run_engine
from tools.evaluation.musts import KITCHEN, musts
from tools.evaluation.network import load_network
from tools.evaluation.sequences import open_sequence
from tools.evaluation.suite import SuiteConfig, stream_uris

FRAMES = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sequence laid out like shared/data, under the kitchen's name, and one without a truth."""
    root = tmp_path_factory.mktemp("data")
    folder = root / KITCHEN
    for part in ("frames", "depth"):
        (folder / part).mkdir(parents=True)
    sequence = SyntheticSequence(VALIDATION.start + 9, FRAMES, "wander", (96, 128), augment=False, world_kind="room")
    for i in range(FRAMES):
        image, depth, _, _ = sequence.frame(i)
        cv2.imwrite(str(folder / "frames" / f"{i:06d}.png"), image[..., ::-1])
        if i % 6 == 0:
            millimetres = np.where(np.isfinite(depth), 1000 * depth, 0).astype(np.uint16)
            cv2.imwrite(str(folder / "depth" / f"{i:06d}.png"), millimetres)
    times = np.arange(FRAMES) * 100_000_000
    write_trajectory(folder / "groundtruth.txt", Trajectory(times, sequence.world_from_camera))
    (folder / "timestamps.txt").write_text("".join(f"{t / 1e9:.9f}\n" for t in times))
    (fx, cx), (fy, cy) = sequence.intrinsics[0, [0, 2]], sequence.intrinsics[1, [1, 2]]
    camera = {"width": 128, "height": 96, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    (root / "no_truth").mkdir()
    return root


def read_json(path: Path) -> dict:
    """Strict: NaN is no JSON."""
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{path} holds {word}"))


def test_a_sequence_with_a_result_that_is_the_truth(data: Path, tmp_path: Path, capfd) -> None:
    truth = str(data / KITCHEN)
    exact = tmp_path / "exact"
    (exact / "depth").mkdir(parents=True)
    sequence = open_sequence(truth)
    write_trajectory(exact / "trajectory.txt", sequence.truth)
    (exact / "intrinsics.json").write_text((data / KITCHEN / "intrinsics.json").read_text())
    for frame, load in sequence.depth.items():
        np.savez(exact / "depth" / f"{frame:06d}.npz", depth=load() / 3)
    arguments = ["--truth", truth, "--result", f"mine={exact}", "--odometry", "--distance", "3", "--out", str(tmp_path)]
    assert evaluate.main(arguments) == 0
    assert "| mine | 12 |" in capfd.readouterr().out
    report = read_json(tmp_path / f"{KITCHEN}.json")
    mine = report["results"]["mine"]
    assert mine["ate"]["rmse"] < 1e-6
    assert mine["depth"]["abs_rel"] < 1e-6
    assert mine["fov_error"] == 0
    assert mine["frames_missing"] == 0
    assert set(report["results"]) == {"mine", "no motion", "constant velocity", "OpenCV odometry"}
    assert (tmp_path / f"{KITCHEN}.png").stat().st_size > 5000


def test_a_result_with_too_few_poses_is_refused(data: Path, tmp_path: Path) -> None:
    sequence = open_sequence(str(data / KITCHEN))
    short = tmp_path / "short.txt"
    write_trajectory(short, Trajectory(sequence.time_ns[:2], sequence.truth.world_from_camera[:2]))
    with pytest.raises(evaluate.Spark3rError, match="2 poses match the truth's times; expected more than 8"):
        evaluate.main(["--truth", str(data / KITCHEN), "--result", str(short), "--out", str(tmp_path)])


def test_everything_at_once(data: Path, tmp_path: Path, capfd) -> None:
    small = ["--worlds", "1", "--streams", "1", "--frames", "5", "--distance", "2", "--data", str(data)]
    assert evaluate.main(["--validation", "--weights", "random", "--out", str(tmp_path), *small]) == 0
    table = capfd.readouterr().out
    result = read_json(tmp_path / "validation.json")
    assert result["worlds"]["pairs"]["worlds"] == 1
    assert set(result["real"]) == {KITCHEN}
    (stream,) = result["streams"].values()
    assert stream["bundled"]["frames"] == 5
    assert stream["bundled"]["depth"]["frames"] == 5
    assert set(stream) == {"bundled", "network's own poses", "no motion", "constant velocity", "OpenCV odometry"}
    wanted = [
        ("1 held-out worlds, pairs", "rotation"),
        ("1 held-out worlds, windows", "translation, network's own unit"),
        ("1 held-out worlds, windows", "AbsRel, one scale per sequence"),
        ("1 synthetic loops of 5 frames, medians", "ATE / path length"),
        ("kitchen, streamed", "rotation"),
        ("kitchen, streamed", "direction of translation, median"),
        ("kitchen, streamed", "field of view, relative error"),
        ("kitchen, whole clip", "ATE / spread"),
        ("kitchen, pairs", "rotation"),
    ]
    found = {(row["where"], row["what"]): row for row in result["musts"]}
    for key in wanted:
        assert math.isfinite(found[key]["value"]), key
        assert key[0] in table
    for where in ("1 held-out worlds, pairs", "1 synthetic loops of 5 frames, medians", "kitchen, pairs"):
        assert math.isfinite(found[where, "rotation" if "loops" not in where else "ATE / path length"]["unrefined"])
    assert found["kitchen, whole clip", "ATE / spread"]["no_motion"] == pytest.approx(1)
    rotation = found["1 held-out worlds, pairs", "rotation"]
    assert rotation["of_no_motion"] == pytest.approx(rotation["value"] / rotation["no_motion"])
    for name in ("validation", KITCHEN, "synthetic_room_loop_100500"):
        for suffix in (".json", ".md", ".png"):
            assert (tmp_path / f"{name}{suffix}").exists(), name


def test_reserved_seeds_stay_reserved() -> None:
    for seeds in (VALIDATION, ACCEPTANCE):
        config = SuiteConfig(seeds)
        streams = [int(uri.split("seed=")[1].split("&")[0]) for uri in stream_uris(config)]
        used = {*range(seeds.start, seeds.start + config.worlds), *streams}
        assert len(used) == config.worlds + config.streams
        assert all(seed in seeds and seed not in TRAIN for seed in used)


def test_musts_of_known_results() -> None:
    """Medians over the streams; a number that one stream lacks is none, not a guess."""

    def stream(of_path: float, odometry: bool) -> dict:
        rows = {"net": {"frames": 300, "ate": {"of_path": of_path}}, "no motion": {"ate": {"of_path": 0.2}}}
        return rows | ({"OpenCV odometry": {"ate": {"of_path": 0.01}}} if odometry else {})

    result = {"streams": {str(i): stream(v, i != 1) for i, v in enumerate((0.05, 0.01, 0.03))}}
    ate = next(must for must in musts(result, "net") if must.what == "ATE / path length")
    assert ate.value == pytest.approx(3)
    assert ate.no_motion == pytest.approx(20)
    assert ate.of_no_motion == pytest.approx(0.15)
    assert ate.odometry is None
    assert musts({}, "net") == []


def test_the_engine_runs_here_as_spark3r_run_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same windows, same memory, same arithmetic: a result folder and a run of the tool give the same poses."""
    uri = f"synthetic:room?seed={VALIDATION.start + 5}&frames=10&size=64x48&kind=wander"
    out = tmp_path / "result"
    command = ["spark3r", "run", uri, "--weights", "random", "--out", str(out), "--save-depth", "--track", "off"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    sequence = open_sequence(uri)
    run = run_engine(load_network("bundled", "random"), sequence)
    saved = read_trajectory(out / "trajectory.txt").world_from_camera
    assert np.allclose(np.stack([run.poses[i] for i in range(10)]), saved, atol=1e-6)
    from_disk, _ = result_numbers(out, sequence, 4)
    from_run, _ = engine_numbers(run, sequence, 4)
    for key in ("abs_rel", "delta_1.25"):
        assert from_disk["depth"][key] == pytest.approx(from_run["depth"][key], rel=2e-2)
    assert from_disk["fov_error"] == pytest.approx(from_run["fov_error"], abs=1e-4)
    assert from_run["frames_missing"] == from_disk["frames_missing"] == 0
