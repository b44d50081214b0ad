"""Turn a checkpoint of tools/train_bundled.py into the weights that the package ships; print what a frame costs.

python tools/export_bundled.py runs/bundled/last.pt
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from spark3r_core.models.bundled import flops_per_frame  # noqa: E402
from spark3r_core.models.da3 import DA3Config  # noqa: E402
from tools.training import checkpoint  # noqa: E402

MAX_BYTES = 15 * 1024 * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "spark3r_core" / "weights", help="folder to write into")
    args = parser.parse_args()
    state = checkpoint.load(args.checkpoint)
    blob = save(checkpoint.half_weights(state["ema"]["shadow"]))
    if len(blob) > MAX_BYTES:
        raise SystemExit(f"weights take {len(blob)} bytes, more than the {MAX_BYTES} that may be shipped")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    summary = {
        "sha256": hashlib.sha256(blob).hexdigest(),
        "config": asdict(checkpoint.model_config(state)),
        "training": {
            "steps": state["steps"],
            "frames_seen": state["frames_seen"],
            "git_commit": commit.stdout.strip(),
            "settings": state["train_config"],
        },
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bundled.safetensors").write_bytes(blob)
    (args.out / "bundled.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{args.out / 'bundled.safetensors'}: {len(blob) / 1e6:.2f} MB, step {state['steps']}")
    print_flops(checkpoint.model_config(state))
    return 0


def print_flops(config: DA3Config, grid_hw: tuple[int, int] = (12, 16)) -> None:
    """A table in GFLOP per new frame, by how many frames its queries see."""
    seen = (1, 4, 8, 12)
    columns = [flops_per_frame(config, grid_hw, frames) for frames in seen]
    print(f"{'GFLOP, frames seen:':26}" + "".join(f"{frames:8}" for frames in seen))
    for part in columns[0]:
        print(f"{part:26}" + "".join(f"{column[part] / 1e9:8.3f}" for column in columns))
    print(f"{'total':26}" + "".join(f"{sum(column.values()) / 1e9:8.3f}" for column in columns))


if __name__ == "__main__":
    raise SystemExit(main())
