"""Random weights, for benchmarks at full size and as the start of training. Deterministic for a seed on the CPU."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from spark3r_core.models.interface import Backbone
from spark3r_core.models.layers import LayerScale

M = TypeVar("M", bound=nn.Module)


def random_init(model: M, seed: int = 0) -> M:
    """Fill every parameter in place and return the model.

    Matrices and convolutions get N(0, 1 / fan_in), vectors zero, gains (norms, LayerScale) one, tokens and learned
    positions N(0, 0.02²). Persistent buffers keep what their module gave them. The family then sets the few values
    that keep random outputs finite (`Backbone.after_random_init`).
    """
    generators: dict[torch.device, torch.Generator] = {}
    gains = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, LayerScale))
        for name, parameter in module.named_parameters(recurse=False)
        if name in ("weight", "gamma")
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = generators.setdefault(parameter.device, torch.Generator(parameter.device).manual_seed(seed))
            if id(parameter) in gains:
                parameter.fill_(1.0)
            elif name.endswith("weight") and parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, fan_in**-0.5, generator=generator)
            elif parameter.dim() > 1:
                parameter.normal_(0.0, 0.02, generator=generator)
            else:
                parameter.zero_()
    if isinstance(model, Backbone):
        model.after_random_init()
    return model
