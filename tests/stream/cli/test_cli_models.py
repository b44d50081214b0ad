"""`spark3r models`: a table that fits a terminal, the same as JSON, and downloads only when asked and consented to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spark3r_core.models.registry import MODELS
from spark3r_core.stream.keyframe_cost import KeyframeCost
from spark3r_stream.cli import fit
from tests import helpers

WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)
sys.meta_path.insert(0, NoTorch())
from spark3r_stream.cli.main import main
main()
"""


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights directory in which pi3 has a file."""
    path = tmp_path / "pi3" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"")
    monkeypatch.setenv("SPARK3R_WEIGHTS", str(tmp_path))
    return path


def models(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    return helpers.spark3r(monkeypatch, "models", *arguments)


def test_the_table_fits_a_hundred_columns(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert models(monkeypatch) == 0
    lines = capfd.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split() and line.split()[0] in MODELS}
    assert list(rows) == list(MODELS)
    assert all(len(line) <= 100 for line in lines if str(weights.parent.parent) not in line)
    assert rows["vggt-1b"].split() == [
        "vggt-1b", "1,256.5", "M", "VGGT", "License", "CC", "BY-NC", "4.0", "518x392", "1,041", "102.6", "MB", "no",
    ]  # fmt: skip
    assert rows["pi3"].split()[-1] == "here"
    assert f"  pi3: {weights}" in lines


def test_json_lines_hold_the_same(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert models(monkeypatch, "--json") == 0
    found = {line["name"]: line for line in map(json.loads, capfd.readouterr().out.splitlines())}
    assert list(found) == list(MODELS)
    assert found["pi3"]["weights"] == str(weights)
    assert found["vggt-1b"]["weights"] is None
    assert found["vggt-1b"]["kv_bytes_per_frame"] == 102_596_608


def test_a_download_without_consent_is_one_line_and_no_call(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: a call would fail in other words
    assert models(monkeypatch, "get", "vggt-1b") == 1
    notice, refusal = capfd.readouterr().err.splitlines()
    assert notice.startswith("vggt-1b: weights of https://huggingface.co/facebook/VGGT-1B, licence CC BY-NC 4.0")
    assert refusal.startswith("spark3r: error: the weights of vggt-1b are for non-commercial use")
    assert models(monkeypatch, "get", "vggt-1b", "--accept-licence") == 1
    assert "cannot fetch model.safetensors" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("models", "spark3r: error: torch is not installed; pip install 'spark3r-stream[engine]'"),
        ("doctor", "missing   torch: not installed; pip install 'spark3r-stream[engine]' (the CPU build is enough)"),
    ],
)
def test_without_torch_a_line_says_what_to_install(command: str, line: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert line in (done.stdout + done.stderr).splitlines()
    assert "Traceback" not in done.stderr


def test_what_fits_is_counted_and_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The measurement itself is in test_keyframe_cost.py."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fit, "operations_per_second", lambda *_: 1e9)
    assert models(monkeypatch, "list", "bundled", "--fit", "--json") == 0
    told = capfd.readouterr()
    first = json.loads(told.out)
    assert told.err == "measuring bundled, once\n"
    assert first["fits"] is True
    assert first["needed_bytes"] == int(
        1.5 * sum(first["cost"][f"{part}_bytes"] for part in ("weights", "memory", "work"))
    )
    assert first["keyframes_per_second"] == 1e9 / first["cost"]["operations"]
    assert models(monkeypatch, "list", "bundled", "--fit", "--json") == 0
    told = capfd.readouterr()
    assert (json.loads(told.out)["keyframes_per_second"], told.err) == (first["keyframes_per_second"], "")
    (cache,) = (tmp_path / "cache" / "spark3r").iterdir()
    kept = json.loads(cache.read_text())
    cost = KeyframeCost(**first["cost"])
    monkeypatch.setattr(fit, "keyframe_cost", lambda name, dtype: cost)
    for damage in ("[]", "nonsense", json.dumps({**kept, "costs": {"bundled": {"more": 1}}})):
        cache.write_text(damage)
        assert models(monkeypatch, "list", "bundled", "--fit", "--json") == 0
        assert json.loads(capfd.readouterr().out)["keyframes_per_second"] == 1e9 / first["cost"]["operations"]
    cache.write_text(json.dumps({**kept, "made_with": {**kept["made_with"], "machine": "another"}}))
    monkeypatch.setattr(fit, "free_bytes", lambda device: 10_000_000)
    assert models(monkeypatch, "list", "bundled", "--fit") == 1
    table = capfd.readouterr()
    assert " no " in next(line for line in table.out.splitlines() if "bundled" in line)
    assert "measuring bundled" in table.err
    assert models(monkeypatch, "get") == 1
    assert "models get needs a name" in capfd.readouterr().err
