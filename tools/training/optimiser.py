"""Muon for the matrices of the trunk, AdamW for everything else, behind one small face.

Muon takes the orthogonal part of each matrix' momentum as its step (Jordan 2024), which in a training of a few thousand
steps learns more per step than AdamW: small gradients' directions are followed as far as large ones'.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

CAMERA_RATE = 0.5  # of the learning rate, for the camera decoder: at the full one its ReLU units died


class Optimiser:
    """Two optimisers stepped as one; `learning_rate` is AdamW's, Muon's follows it (steps of the same rms).

    Args:
        modules: what is trained. Matrices inside transformer blocks go to Muon; embeddings, tokens, convolutions,
            heads, norms and biases to AdamW. Vectors, embeddings and tokens do not decay.
        learning_rate: of AdamW.
        weight_decay: of both.
    """

    def __init__(self, modules: Iterable[nn.Module], learning_rate: float, weight_decay: float) -> None:
        named = [(name, p) for module in modules for name, p in module.named_parameters() if p.requires_grad]
        trunk = [p for name, p in named if ".blocks." in name and p.ndim == 2]
        taken = {id(p) for p in trunk}
        rest = [(name, p) for name, p in named if id(p) not in taken]
        camera = [p for name, p in rest if ".cam_dec." in name]
        rest = [(name, p) for name, p in rest if ".cam_dec." not in name]
        plain = [p for name, p in rest if p.ndim < 2 or "token" in name or "pos_embed" in name]
        decayed = [p for name, p in rest if not (p.ndim < 2 or "token" in name or "pos_embed" in name)]
        self.parameters = [p for _, p in named]
        self.muon = torch.optim.Muon(trunk, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.adam = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay, "share": 1.0},
                {"params": plain, "weight_decay": 0.0, "share": 1.0},
                {"params": camera, "weight_decay": 0.0, "share": CAMERA_RATE},
            ],
            lr=learning_rate,
            betas=(0.9, 0.98),
            foreach=True,
        )

    def set_learning_rate(self, rate: float) -> None:
        for group in self.muon.param_groups:
            group["lr"] = rate
        for group in self.adam.param_groups:
            group["lr"] = rate * group["share"]

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        self.muon.step()
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
