"""One file holds everything a training run needs to go on: weights, EMA, optimiser, counters."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from spark3r_core.models.bundled import BUNDLED_CONFIG
from spark3r_core.models.da3 import DA3Config

WEIGHTS = Path(__file__).resolve().parents[2] / "spark3r_core" / "weights"


class Ema:
    """Exponential moving average of the parameters; young averages follow faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {name: p.detach().clone().float() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        live = model.state_dict()
        names = [name for name, value in live.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.shadow[n] for n in names], [live[n].float() for n in names], 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state["shadow"].items():
            self.shadow[name].copy_(value)
        self.updates = state["updates"]


def save(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a run killed while saving leaves the previous file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def model_config(state: dict[str, Any]) -> DA3Config:
    """That of a checkpoint's network; settings that were added since its training began are today's."""
    return DA3Config(**(asdict(BUNDLED_CONFIG) | state["model_config"]))


def half_weights(shadow: dict[str, Tensor]) -> dict[str, Tensor]:
    """EMA weights as they are shipped: float16, contiguous."""
    return {name: value.to(torch.float16).contiguous() for name, value in shadow.items()}


def shipped() -> tuple[dict[str, Tensor], int, int]:
    """Weights (float32) of the package, the step they were exported at and the frames seen until then."""
    about = json.loads((WEIGHTS / "bundled.json").read_text(encoding="utf-8"))["training"]
    weights = {name: tensor.float() for name, tensor in load_file(WEIGHTS / "bundled.safetensors").items()}
    return weights, about["steps"], about["frames_seen"]
