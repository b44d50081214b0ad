"""The network that a tool measures: released weights, a file, or what a training run holds."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from spark3r_core.models.da3 import DA3
from spark3r_core.models.interface import Backbone
from spark3r_core.models.processor import cpu_has_bfloat16
from spark3r_core.models.registry import MODELS, load_model
from tools.training import checkpoint


def load_averaged(path: Path) -> DA3:
    """The averaged weights of a checkpoint of tools/train_bundled.py, in float32."""
    state = checkpoint.load(path)
    model = DA3(checkpoint.model_config(state))
    model.load_state_dict(state["ema"]["shadow"])
    model.name = "bundled"
    return model.eval().requires_grad_(False)


def load_network(
    name: str, weights: str | None = None, checkpoint_path: Path | None = None, device: str = "cpu"
) -> Backbone:
    """A model in the arithmetic that `spark3r run` takes on this machine; a training checkpoint in float32."""
    if checkpoint_path is not None:
        return load_averaged(checkpoint_path).to(device)
    dtype = torch.bfloat16 if device != "cpu" or cpu_has_bfloat16() else torch.float32
    return load_model(name, device=device, dtype=dtype, weights=weights)


def add_arguments(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """--model, --weights and --checkpoint."""
    group.add_argument("--model", default="bundled", choices=sorted(MODELS))
    group.add_argument("--weights", help='checkpoint file, or "random"; default: the released weights')
    group.add_argument("--checkpoint", type=Path, help="averaged weights of a training run (last.pt) instead")
