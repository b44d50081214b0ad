"""How a streaming memory should be filled, emptied and laid out, on streams with ground truth.

    python tools/ablate_streaming.py --sequences SEQUENCE... --out docs/streaming [--weights FILE [--weights FILE]]

A sequence is a folder laid out like shared/data or a synthetic URI. One row per setting: ATE over the spread of the
true positions and rotation error against frame 0 and 8 frames apart (medians over the sequences), frames computed per
new one, model seconds per frame, pages and bytes. All rows have the same bytes, those of the default setting with the
model's own number of pages (window slots and kept tokens are part of them), except the rows that vary the pages.
Offline dense is the reference: all frames see each other. --weights twice compares two checkpoints, a table each.
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

from spark3r_core import MemoryConfig, Reduction, StreamSession, reconstruct
from spark3r_core.errors import MemoryBudgetError, SettingsError
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.memory.config import CONSOLIDATE_EVERY, SUPPORT_RECENT, Eviction, Fill
from spark3r_core.models.interface import Backbone
from spark3r_core.models.preprocess import StreamResize
from tools.evaluation import metrics
from tools.evaluation.network import load_network
from tools.evaluation.sequences import open_sequence

DISTANCE = 8


@dataclass(frozen=True)
class Setting:
    """One row: new frames per window and what the memory does. pages: None takes what the common bytes allow."""

    fill: Fill = "support"
    eviction: Eviction = "time"
    new: int = 4
    recent_again: int | None = None
    every: int | None = None
    pages: int | None = None

    def memory(self, max_bytes: int | None) -> MemoryConfig:
        return MemoryConfig(
            max_bytes=None if self.pages else max_bytes,
            max_pages=self.pages or MOST_PAGES,
            fill=self.fill,
            eviction=self.eviction,
            support_recent=self.recent_again,
            max_new_frames=self.new,
            consolidate_every=self.every,
        )

    @property
    def label(self) -> str:
        parts = [self.fill, f"{self.new} new"]
        if self.fill == "support":
            recent = SUPPORT_RECENT if self.recent_again is None else self.recent_again
            parts.append(f"anchor + last {recent}" if recent else "anchor")
        if self.fill == "consolidate":
            parts.append(f"every {self.every or CONSOLIDATE_EVERY}")
        return ", ".join([*parts, self.eviction, *([f"{self.pages} pages"] if self.pages else [])])


MOST_PAGES = 1000  # the bytes decide
SETTINGS = [
    Setting(),
    *(Setting("causal", new=new) for new in (4, 1)),
    *(Setting("consolidate", every=every) for every in (8, 16, 32)),
    *(Setting(fill, "views") for fill in ("support", "causal", "consolidate")),
    *(Setting(recent_again=recent) for recent in (0, 2)),
    *(Setting(new=new) for new in (1, 2, 8)),
    Setting(new=2, recent_again=2),
    *(Setting(pages=pages) for pages in (4, 8, 12, 16, 40)),
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


def common_bytes(model: Backbone, images: torch.Tensor) -> int:
    """What the default setting takes with the model's own number of pages."""
    config = Setting(pages=model.capabilities.stream_pages).memory(None)
    return StreamSession(model, config).step(images[:1]).memory_limit_bytes


def stream(model: Backbone, images: torch.Tensor, memory: MemoryConfig) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Poses (S, 4, 4), and what they cost."""
    session = StreamSession(model, memory, refine=False)  # what the memory does, not what pixels mend
    results = [session.step(part) for part in images.split(memory.max_new_frames)]
    assert session.memory is not None
    return np.stack([frame.world_from_camera for result in results for frame in result.frames]), {
        "cost": sum(len(r.frames) + len(r.support) + len(r.consolidated) for r in results) / len(images),
        "seconds_per_frame": sum(r.step_ns - r.refine_ns for r in results) / 1e9 / len(images),
        "pages": max(budget.pages for budget in session.memory.budgets),
        "memory_mib": results[-1].memory_limit_bytes / 2**20,
    }


def ablate(model: Backbone, args: argparse.Namespace) -> dict[str, Any]:
    """All rows of one network."""
    collected: dict[str, list[dict[str, float]]] = {}
    for what in track(args.sequences, "sequences"):
        images, truth, frames = load_stream(what, model, args.max_frames)
        still = np.repeat(np.eye(4)[None], len(truth), 0)
        collected.setdefault("no motion", []).append(measure(still, truth))
        if args.offline:
            dense = reconstruct(model, images, Reduction.dense()).world_from_camera
            collected.setdefault("offline dense", []).append(measure(dense[frames], truth))
        max_bytes = common_bytes(model, images)
        for setting in SETTINGS:
            try:
                poses, cost = stream(model, images, setting.memory(max_bytes))
            except (SettingsError, MemoryBudgetError) as error:
                print(f"{setting.label}: left out, {error}", file=sys.stderr)
                continue
            collected.setdefault(setting.label, []).append({**measure(poses[frames], truth), **cost})
    rows = {
        name: {key: float(np.median([r[key] for r in runs])) for key in runs[0]} for name, runs in collected.items()
    }
    sha256, dtype = model.weights_sha256, str(model.attention_dtype)
    return {"weights_sha256": sha256, "dtype": dtype, "rows": rows, "runs": collected}


def table(rows: dict[str, dict[str, float]]) -> list[str]:
    """Lines of a markdown table."""
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = ["| setting | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[key]:.3g}" if key in row else "–" for key in keys) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", nargs="+", required=True)
    parser.add_argument("--max-frames", type=int, default=300)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--weights", action="append", help="checkpoint file; give it again for a second network")
    parser.add_argument("--offline", action="store_true", help="also the offline dense run (slow for long sequences)")
    parser.add_argument("--out", type=Path, required=True, help="file name without suffix: .json and .md are written")
    args = parser.parse_args()
    networks, lines = {}, []
    for weights in args.weights or [None]:
        name = args.model if weights is None else f"{args.model}, {weights}"
        networks[name] = ablate(load_network(args.model, weights), args)
        lines += [f"{name}:", "", *table(networks[name]["rows"]), ""]
    report: dict[str, Any] = {
        "protocol": "medians over sequences; ATE after Sim(3) alignment (evo) over the RMS spread of true positions",
        "sequences": [what if ":" in what else Path(what).name for what in args.sequences],
        "max_frames": args.max_frames,
        "machine": {"cores": os.cpu_count(), "torch": str(torch.__version__), "threads": torch.get_num_threads()},
        "networks": networks,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    args.out.with_suffix(".md").write_text("\n".join(lines))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
