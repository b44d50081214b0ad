"""What a stream should re-run and keep: windows, support frames, pages, on streams with ground truth.

    python tools/ablate_streaming.py --sequences SEQUENCE... --out docs/streaming [--weights FILE]

A sequence is a folder laid out like shared/data or a synthetic URI. One row per setting: ATE over the spread of the
true positions and rotation error against frame 0 and 8 frames apart (medians over the sequences), attention memory in
bytes, and model seconds per frame. Offline dense is the reference: all frames see each other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.progress import track

from spark3r_core import MemoryConfig, Reduction, StreamSession, load_model, reconstruct
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.models.interface import Backbone
from spark3r_core.models.preprocess import StreamResize
from tools.evaluation import metrics
from tools.evaluation.sequences import open_sequence

DISTANCE = 8


@dataclass(frozen=True)
class Setting:
    """One row: new frames per window, what is run again with them, pages kept."""

    new: int
    anchor: bool = True
    recent_again: int = 1
    pages: int = 12

    def memory(self) -> MemoryConfig:
        return MemoryConfig(
            max_pages=self.pages,
            support_recent=self.recent_again,
            rerun_anchor=self.anchor,
            max_new_frames=self.new,
        )

    @property
    def label(self) -> str:
        again = [*(["anchor"] if self.anchor else []), *([f"last {self.recent_again}"] if self.recent_again else [])]
        return f"{self.new} new{' + ' + ' + '.join(again) if again else ''}, {self.pages} pages"

    @property
    def cost(self) -> float:
        """Frames computed per new frame."""
        return (self.new + self.anchor + self.recent_again) / self.new


SETTINGS = [
    Setting(4, anchor=False, recent_again=0),
    Setting(1, anchor=False, recent_again=0),
    Setting(4, recent_again=0),
    Setting(4),
    Setting(4, recent_again=2),
    Setting(2, recent_again=2),
    Setting(1),
    Setting(8),
    *(Setting(4, pages=pages) for pages in (4, 8, 16, 40)),
]


def load_stream(what: str, model: Backbone, max_frames: int) -> tuple[torch.Tensor, NDArray[np.float64], NDArray]:
    """Images (S, 3, h, w) uint8 at network size, true poses of those frames that have one, and which these are."""
    sequence = open_sequence(what)
    resize, images = None, []
    for image in sequence.frames():
        patches = model.capabilities.native_patches or 192
        resize = resize or StreamResize.fit_patches(image.shape[:2], patches, model.patch_size)
        images.append(resize(image)[0])
        if len(images) == max_frames:
            break
    frames, truth = sequence.truth_of_frames()
    known = frames < len(images)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), truth[known], frames[known]


def measure(poses: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """ATE over spread, median rotation error against frame 0 and DISTANCE frames apart."""

    def rotations(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.swapaxes(p[:1, :3, :3], 1, 2) @ p[:, :3, :3]

    from_first = rotation_angle(np.swapaxes(rotations(truth), 1, 2) @ rotations(poses))
    return {
        "ate_of_spread": metrics.ate(poses, truth)[0]["of_spread"],
        "rotation_from_first_deg": float(np.degrees(np.median(from_first))),
        f"rotation_{DISTANCE}_apart_deg": metrics.rpe(poses, truth, DISTANCE)["rotation_deg"],
    }


def stream(model: Backbone, images: torch.Tensor, setting: Setting) -> tuple[NDArray[np.float64], float, int]:
    """Poses (S, 4, 4), model seconds per frame, bytes of the memory at the end."""
    session = StreamSession(model, setting.memory())
    results = [session.step(part) for part in images.split(setting.new)]
    poses = np.stack([frame.world_from_camera for result in results for frame in result.frames])
    return poses, sum(r.model_ns for r in results) / 1e9 / len(images), results[-1].memory_used_bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", nargs="+", required=True)
    parser.add_argument("--max-frames", type=int, default=300)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--weights")
    parser.add_argument("--offline", action="store_true", help="also the offline dense run (slow for long sequences)")
    parser.add_argument("--out", type=Path, required=True, help="file name without suffix: .json and .md are written")
    args = parser.parse_args()
    model = load_model(args.model, weights=args.weights)
    collected: dict[str, list[dict[str, float]]] = {}
    for what in track(args.sequences, "sequences"):
        images, truth, frames = load_stream(what, model, args.max_frames)
        still = np.repeat(np.eye(4)[None], len(truth), 0)
        collected.setdefault("no motion", []).append(measure(still, truth))
        if args.offline:
            dense = reconstruct(model, images, Reduction.dense()).world_from_camera
            collected.setdefault("offline dense", []).append(measure(dense[frames], truth))
        for setting in SETTINGS:
            poses, seconds, used = stream(model, images, setting)
            row = {**measure(poses[frames], truth), "seconds_per_frame": seconds, "memory_mib": used / 2**20}
            collected.setdefault(setting.label, []).append({**row, "cost": setting.cost})
    rows = {
        name: {key: float(np.median([r[key] for r in runs])) for key in runs[0]} for name, runs in collected.items()
    }
    report: dict[str, Any] = {
        "protocol": "medians over sequences; ATE after Sim(3) alignment (evo) over the RMS spread of true positions",
        "sequences": args.sequences,
        "max_frames": args.max_frames,
        "model": args.model,
        "weights_sha256": model.weights_sha256,
        "dtype": str(model.attention_dtype),
        "machine": {"cores": os.cpu_count(), "torch": str(torch.__version__), "threads": torch.get_num_threads()},
        "rows": rows,
        "runs": collected,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    keys = ["ate_of_spread", "rotation_from_first_deg", f"rotation_{DISTANCE}_apart_deg", "cost", "seconds_per_frame"]
    lines = ["| setting | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[k]:.3g}" if k in row else "–" for k in keys) + " |")
    args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
