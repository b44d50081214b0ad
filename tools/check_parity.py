"""Compare the networks with the tiny instances of their references, tensor by tensor.

    python tools/check_parity.py tests/data/vggt_tiny_a [more fixture stems]

A fixture is `<stem>.json` (sizes) and `<stem>.safetensors` (`state.*`, `input.*`, and what the reference made of them).
Every tensor gets a line with max|difference| / rms. `output_causal` is checked twice: with a block-causal mask, and
frame by frame through a lossless KV memory. Exit status 1 when anything is above the tolerance or cannot be compared.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import CheckpointError
from tools.parity_fixture import Fixture

TOLERANCE = 1e-4


def error(actual: Tensor, expected: Tensor) -> float:
    """max |difference| / rms of the expected tensor; infinite where anything is not finite."""
    difference = (actual.double() - expected.double()).abs().max()
    value = float(difference / expected.double().square().mean().sqrt().clamp(min=1e-30))
    return value if math.isfinite(value) else math.inf


class Report:
    """Prints a line per tensor and counts."""

    def __init__(self, fixture: str) -> None:
        self.fixture, self.compared, self.skipped, self.failed, self.worst = fixture, 0, 0, 0, 0.0

    def compare(self, name: str, actual: Tensor | None, expected: Tensor, *, exact_shape: bool) -> None:
        if actual is None:
            self._line("FAIL", name, "not produced")
        elif (exact_shape and actual.shape != expected.shape) or actual.numel() != expected.numel():
            self._line("FAIL", name, f"shape {list(actual.shape)}, expected {list(expected.shape)}")
        else:
            value = error(actual.reshape(expected.shape), expected)
            self.worst = max(self.worst, value)
            self._line("ok" if value <= TOLERANCE else "FAIL", name, f"{value:.1e}")

    def skip(self, name: str, why: str) -> None:
        self.skipped += 1
        print(f"SKIPPED {self.fixture} {name}: {why}")

    def _line(self, verdict: str, name: str, text: str) -> None:
        self.compared += 1
        self.failed += verdict == "FAIL"
        print(f"{verdict:7} {self.fixture} {name} {text}")


@torch.inference_mode()
def check(stem: Path) -> bool:
    """Compare one fixture; True when everything agrees."""
    fixture = Fixture(stem)
    report = Report(fixture.name)
    for why in dict.fromkeys(fixture.skipped_keys.values()):
        keys = [key for key, reason in fixture.skipped_keys.items() if reason == why]
        report.skip(f"state.{keys[0]} and {len(keys) - 1} more weights" if len(keys) > 1 else f"state.{keys[0]}", why)
    compared = []
    for mode in fixture.modes():
        ways = {mode: fixture.outputs(mode)}
        if mode == "output_causal":
            ways["output_causal(memory)"] = fixture.streamed()
        compared += [(label, actual, fixture.named(f"{mode}."), True) for label, actual in ways.items()]
    compared.append(("mid", fixture.intermediate(), fixture.named("mid."), False))
    for label, actual, expected, exact_shape in compared:
        for name, value in expected.items():
            if fixture.skipped_keys and name in fixture.model.dropped_outputs and name not in actual:
                report.skip(f"{label}.{name}", "output of a head that is left out")
            else:
                report.compare(f"{label}.{name}", actual.get(name), value, exact_shape=exact_shape)
    print(
        f"{fixture.name}: {report.compared} compared, {report.failed} failed, {report.skipped} skipped,"
        f" worst {report.worst:.1e} of the rms"
    )
    return report.failed == 0 and report.compared > 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixture", nargs="+", type=Path, help="stem of a fixture, with or without .json")
    args = parser.parse_args(arguments)
    try:
        results = [check(_stem(path)) for path in args.fixture]
    except CheckpointError as failure:
        print(f"check_parity: {failure}", file=sys.stderr)
        return 1
    return 0 if all(results) else 1


def _stem(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in (".json", ".safetensors") else path


if __name__ == "__main__":
    raise SystemExit(main())
