"""The ablation of token reduction: its errors, its summary, and one run of everything on a small scale."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spark3r_core.offline.probe import SensitivityTable
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_core.tokens.sensitivity import SENSITIVE_LAYERS
from tools import ablate_reduction
from tools.evaluation import ablation
from tools.evaluation.ablation import Stream


def stream(frames: int = 6, known: tuple[int, ...] = (0, 2, 3, 5)) -> Stream:
    """A camera on a parabola before a slanted wall; some frames have a pose, one has a depth."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = np.arange(frames)
    poses[:, 1, 3] = 0.3 * np.arange(frames) ** 2
    images = torch.zeros(frames, 3, 4, 6, dtype=torch.uint8)
    depth = np.tile(np.linspace(1, 3, 6), (4, 1))
    return Stream("toy", images, np.array(known), poses[list(known)], {3: depth})


def everywhere(toy: Stream) -> tuple[np.ndarray, np.ndarray]:
    """An exact reconstruction in another scale; frames without a truth are far off, and must not count."""
    frames, _, height, width = toy.images.shape
    poses, depth = np.tile(np.eye(4), (frames, 1, 1)), np.full((frames, height, width), 77.0)
    poses[:, :3, 3] = 1000.0
    poses[toy.known] = toy.poses
    poses[toy.known, :3, 3] *= 5
    for index, truth in toy.depth.items():
        depth[index] = 5 * truth
    return poses, depth


def test_only_frames_with_a_truth_count() -> None:
    errors = ablation.measure(*everywhere(stream()), stream())
    assert errors == pytest.approx({"ate": 0, "rotation_deg": 0, "depth_absrel": 0}, abs=1e-6)


def test_no_motion_has_the_error_of_a_point() -> None:
    errors = ablation.measure_no_motion(stream())
    assert errors["ate"] == pytest.approx(1)
    assert errors["depth_absrel"] > 0.2


def test_streams_without_depth_are_left_out_of_the_depth() -> None:
    def errors(ate: float, depth: float) -> dict[str, float]:
        return {"ate": ate, "rotation_deg": 1.0, "depth_absrel": depth}

    nan = float("nan")
    measured = {
        "no motion": [errors(1, 0.5), errors(1, nan)],
        "dense": [errors(0.2, 0.1), errors(0.5, nan)],
        "r_Q 2 r_KV 1": [errors(0.4, 0.3), errors(2.0, nan)],
    }
    rows = {row["name"]: row for row in ablation.summarise(measured)}
    worse = rows["r_Q 2 r_KV 1"]
    assert worse["ate_over_dense"] == pytest.approx(np.sqrt(2 * 4))
    assert worse["depth_absrel"] == pytest.approx(0.3)
    assert worse["depth_absrel_over_dense"] == pytest.approx(3)
    assert worse["dense_beats_no_motion_3x"] == 1
    blind = {name: runs[1:] for name, runs in measured.items()}
    assert ablation.summarise(blind)[0]["depth_absrel"] is None
    assert "| – |" in ablation.table(ablation.summarise(blind), {})


def saved_table(path: Path, errors: tuple[float, ...]) -> SensitivityTable:
    table = SensitivityTable("bundled", (64,), 8, 64, 1.05, "ground truth", 1.0, errors)
    table.save(path)
    return table


def test_the_entry_for_the_repository_is_python_of_the_tables_kind(tmp_path: Path) -> None:
    for errors, layers in (((1.0, 1.2, 1.0, 1.06), {1, 3}), ((1.0, 1.0), set())):
        line = ablate_reduction.sensitivity_entry("bundled", saved_table(tmp_path / "t.json", errors))
        entry = line.removeprefix("SENSITIVE_LAYERS entry: ").split(",  (error")[0]
        name, _, value = entry.partition(": ")
        assert (name, eval(value)) == ('"bundled"', frozenset(layers))
        assert type(eval(value)) is type(next(iter(SENSITIVE_LAYERS.values())))


def test_the_wrong_layers_are_the_others_and_full_has_every_factor(tmp_path: Path) -> None:
    table = saved_table(tmp_path / "t.json", (1.0, 1.2, 1.0, 1.0, 1.3))
    full = ablate_reduction.rows_of(ablate_reduction.FULL, 120, table)
    grid = {row.factors for row in full.values() if row.factors}
    assert grid == {(q, kv) for q in (1, 2, 4, 8, 16) for kv in (1, 2, 4, 8, 16, 32)}
    assert next(iter(full)) == "dense"
    quick = ablate_reduction.rows_of(ablate_reduction.QUICK, 64, table)
    assert {row.question for row in quick.values()} == {row.question for row in full.values()}
    assert len(quick) < len(full) / 1.5


def test_everything_on_a_small_scale(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ablate_reduction.Amount(1, 16, (1, 2), (1, 4), (4,), (5,), (0,))
    monkeypatch.setattr(ablate_reduction, "QUICK", few)
    small = ["--weights", "random", "--size", "24", "36"]
    real = f"synthetic:room?seed={VALIDATION.start + 5}&frames=16&size=48x32&kind=wander"
    assert ablate_reduction.main([*small, "--sequences", real, "--out", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    report = json.loads((tmp_path / "ablate_reduction.json").read_text())
    assert report["settings"]["streams"] == [f"handheld {ablate_reduction.FIRST_SEED}", "synthetic_room_wander_100005"]
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["dense"]["ate_over_dense"] == 1
    assert rows["no motion"]["ate"] == pytest.approx(1)
    assert all(len(runs) == 2 for runs in report["per_stream"].values())
    assert {"group size", "recent pages", "special tokens", "layers"} <= {row["question"] for row in rows.values()}
    assert any(row["ate_over_dense"] != 1 for name, row in rows.items() if name.startswith("r_KV"))
    assert (tmp_path / "ablate_reduction.md").read_text().count("\n| ") == len(rows) + 1
    assert (tmp_path / "ablate_reduction.png").stat().st_size > 5000
    assert "SENSITIVE_LAYERS entry" in out
    again = ["--probe", str(tmp_path / "sensitivity.json"), "--probe-only", "--out", str(tmp_path / "again")]
    assert ablate_reduction.main([*small, *again]) == 0
    assert SensitivityTable.load(tmp_path / "again" / "sensitivity.json").model_name == "bundled"
    assert not (tmp_path / "again" / "ablate_reduction.json").exists()


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ablate_reduction.Spark3rError, match="--streams or --sequences"):
        ablate_reduction.main(["--weights", "random", "--streams", "0", "--out", str(tmp_path)])
