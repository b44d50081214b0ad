"""Train the bundled network, or go on training it.

    python tools/train_bundled.py --out runs/bundled --minutes 90 --resume auto --device cpu
    python tools/train_bundled.py --out runs/streams --minutes 90 --resume runs/bundled/last.pt --phase streams
    python tools/train_bundled.py --out runs/keyframes --minutes 90 --resume shipped --phase keyframes --frozen-blocks 6

One checkpoint file (`last.pt`) holds everything: the run can be stopped at any moment (SIGINT and SIGTERM save first)
and goes on where it was. Logs: `log.jsonl` (every 50 steps) and `validation.jsonl` (every 10 minutes).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.models.bundled import build_bundled
from tools.training import checkpoint
from tools.training.curriculum import ASPECTS, KEYFRAME_ASPECTS, PHASES, plan_step
from tools.training.pool import FIRST_FRAMES, Pool, fill_forever
from tools.training.trainer import TrainConfig, Trainer
from tools.training.validation import HeldOut, validate


class Stop:
    """Set by SIGINT and SIGTERM; looked at between steps."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True


class Log:
    """Means of what the steps report, printed and appended as JSON every `every` steps."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.rows: dict[str, list[float]] = {}
        self.since = time.monotonic()

    def add(self, trainer: Trainer, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.rows.setdefault(name, []).append(value)
        if trainer.steps % self.every:
            return
        means = {name: round(float(np.mean(values)), 5) for name, values in self.rows.items()}
        now = time.monotonic()
        means |= {"step": trainer.steps, "frames": trainer.frames_seen}
        means["step_s"] = round((now - self.since) / self.every, 3)
        self.rows, self.since = {}, now
        self.write("log.jsonl", means)

    def write(self, name: str, row: dict[str, float]) -> None:
        with open(self.folder / name, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(" ".join(f"{key}={value:.4g}" for key, value in row.items()), flush=True)


RESUME_HELP = (
    "auto: OUT/last.pt if it is there; no: afresh; shipped: the weights in the package, with a fresh optimiser; "
    "or a checkpoint file"
)
PHASE_HELP = (
    "bidirectional: pairs, then windows that see all of themselves; streams: mostly streams, window by window over a "
    "memory; keyframes: windows of keyframes as the mapper sees them, in worlds of every kind (default: that of the "
    "checkpoint, bidirectional when training begins)"
)


def main() -> int:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    (args.out / "pid").write_text(f"{os.getpid()}\n")
    stop = Stop()
    torch.manual_seed(args.seed)
    model = build_bundled()
    last = args.out / "last.pt" if args.resume == "auto" else Path(args.resume)
    state = checkpoint.load(last) if args.resume not in ("no", "shipped") and last.exists() else None
    config = TrainConfig(**state["train_config"]) if state else TrainConfig(seed=args.seed)
    chosen = {"learning_rate": args.learning_rate, "phase": args.phase, "ema_decay": args.ema_decay}
    chosen |= {"frozen_blocks": args.frozen_blocks, "decay_share": args.decay_share}
    config = replace(config, **{name: value for name, value in chosen.items() if value is not None})
    trainer = Trainer(model, config, args.device)
    if state:
        trainer.load_state_dict(state)
        print(f"resumed {last} at step {trainer.steps}, {trainer.frames_seen} frames", flush=True)
    elif args.resume == "shipped":
        trainer.start_from(*checkpoint.shipped())
        print(f"started from the shipped weights of step {trainer.steps}", flush=True)
    print(f"phase {config.phase}", flush=True)
    pool_folder = args.pool or args.out / "pool"
    views, aspects = ("keyframes", KEYFRAME_ASPECTS) if config.phase == "keyframes" else ("neighbours", ASPECTS)
    pool = Pool(pool_folder, aspects, args.slots)
    filling = (str(pool_folder), aspects, args.slots, args.fresh, os.getpid(), views, FIRST_FRAMES)
    renderer = multiprocessing.get_context("spawn").Process(target=fill_forever, args=filling, daemon=True)
    renderer.start()
    pool.wait_until_ready(0, min(32, args.slots // 4))
    held_out = HeldOut.kept_in(pool_folder)
    run(args, trainer, pool, stop, held_out)
    checkpoint.save(args.out / "last.pt", trainer.state_dict())
    log = Log(args.out, args.log_every)
    log.write("validation.jsonl", {"step": trainer.steps, **validate(trainer, held_out)})
    renderer.terminate()
    return 0


def run(args: argparse.Namespace, trainer: Trainer, pool: Pool, stop: Stop, held_out: HeldOut) -> None:
    """Steps until time, step limit or a signal; saves and validates on the way."""
    config = trainer.config
    log = Log(args.out, args.log_every)
    started = time.monotonic()
    saved = validated = started
    first = trainer.steps
    while not stop.requested:
        now = time.monotonic()
        progress = (now - started) / (60 * args.minutes)
        if args.steps:
            progress = max(progress, (trainer.steps - first) / args.steps)
        if progress >= 1:
            break
        rng = trainer.rng()
        plan = plan_step(
            trainer.frames_seen, config.frames_per_batch, rng, config.max_frames, pool.aspects, config.phase
        )
        log.add(trainer, trainer.step(pool.draw(plan, rng), progress, rng, plan.schedule))
        if now - saved > 60 * args.save_minutes:
            checkpoint.save(args.out / "last.pt", trainer.state_dict())
            saved = now
        if now - validated > 60 * args.validate_minutes:
            log.write("validation.jsonl", {"step": trainer.steps, **validate(trainer, held_out)})
            validated = now


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs (keep it out of git)")
    parser.add_argument(
        "--minutes", type=float, default=90.0, help="length of this run; the learning rate falls at its end"
    )
    parser.add_argument("--steps", type=int, default=0, help="end after this many steps, if earlier")
    parser.add_argument("--resume", default="auto", help=RESUME_HELP)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=None, help="replaces that of the checkpoint")
    parser.add_argument("--phase", choices=PHASES, default=None, help=PHASE_HELP)
    parser.add_argument(
        "--frozen-blocks", type=int, default=None, help="first blocks of the trunk that are not trained"
    )
    parser.add_argument("--ema-decay", type=float, default=None, help="of the average; replaces that of the checkpoint")
    parser.add_argument("--decay-share", type=float, default=None, help="last part of the run in which the rate falls")
    parser.add_argument("--pool", type=Path, default=None, help="folder of rendered sequences (default OUT/pool)")
    parser.add_argument("--slots", type=int, default=600, help="rendered sequences kept, about 1.6 MB each")
    parser.add_argument("--fresh", type=float, default=0.5, help="frames rendered per frame drawn")
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-minutes", type=float, default=5.0)
    parser.add_argument("--validate-minutes", type=float, default=10.0)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
