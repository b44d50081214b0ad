"""tools/check_parity.py: every fixture passes, and a fixture that disagrees is found out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.core.models.reference_fixture import DATA
from tools.check_parity import main

FIXTURES = sorted(path.stem for path in DATA.glob("*_tiny_a.json"))


@pytest.mark.parametrize("name", FIXTURES)
def test_every_tensor_of_every_fixture_is_compared_and_agrees(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DATA / name)]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split()[2].rstrip(":") for line in lines[:-1]}
    tensors = {key for key in load_file(DATA / f"{name}.safetensors") if key.startswith(("output", "mid."))}
    assert tensors <= named
    assert any(label.startswith("output_causal(memory).") for label in named)
    skipped = {line.split()[2].rstrip(":") for line in lines if line.startswith("SKIPPED")}
    left_out = {"vggt_tiny_a": r"output\.(track|vis|conf)", "vggt_omega_tiny_a": r"output\.text_alignment_\w+"}
    assert all(re.fullmatch(left_out.get(name, "none"), key) for key in skipped if key.startswith("output"))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of a fixture, to be spoiled."""
    for suffix in (".json", ".safetensors"):
        shutil.copyfile(DATA / f"da3giant_tiny_a{suffix}", tmp_path / f"copy{suffix}")
    return tmp_path / "copy"


def test_a_value_that_differs_fails(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = broken.with_suffix(".safetensors")
    tensors = load_file(path)
    for name, change in (("output_first.depth", 1e-3), ("output_posed.intrinsics", float("nan"))):
        changed = {**tensors, name: tensors[name] + change * tensors[name].square().mean().sqrt()}
        save_file(changed, path)
        assert main([str(broken)]) == 1
        failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
        assert [line.split()[2] for line in failures] == [name]


def test_a_tensor_nobody_produces_and_a_wrong_shape_fail(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = broken.with_suffix(".safetensors")
    tensors = load_file(path)
    save_file({**tensors, "output.normals": torch.ones(1), "mid.block.99": torch.ones(1)}, path)
    assert main([str(broken)]) == 1
    output = capsys.readouterr().out
    assert "output.normals not produced" in output
    assert "mid.block.99 not produced" in output
    save_file({**tensors, "output.depth": tensors["output.depth"][0]}, path)
    assert main([str(broken)]) == 1
    assert "output.depth shape" in capsys.readouterr().out


def test_a_wrong_size_and_missing_files_are_one_line(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads(broken.with_suffix(".json").read_text())
    about["constructor"]["embed_dim"] = 32
    broken.with_suffix(".json").write_text(json.dumps(about))
    assert main([str(broken)]) == 1
    assert "another size" in capsys.readouterr().err
    assert main([str(broken.with_name("absent"))]) == 1
    assert "no fixture" in capsys.readouterr().err
