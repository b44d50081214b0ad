"""A Depth-Anything-3 of toy size with random weights: three global layers, milliseconds per frame.

Patches of 6 pixels: 24x36 images as `images` makes them, 36x48 of what a stream brings at 4:3.
"""

from __future__ import annotations

import torch

from spark3r_core.models.da3 import DA3, DA3Config

IMAGE_HW = (24, 36)


def tiny_da3() -> DA3:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = DA3Config(
            embed_dim=48,
            depth=8,
            num_heads=2,
            alt_start=2,
            out_layers=(3, 5, 6, 7),
            head_features=8,
            head_out_channels=(8, 8, 8, 8),
            img_size=36,
            patch_size=6,
            with_rays=False,
            with_cam_enc=False,
            native_long_side=48,
        )
        model = DA3(config).eval()
        for parameter in model.parameters():  # tokens and position embeddings start at zero; give every one a say
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
    model.after_random_init()
    return model


def images(frames: int, seed: int = 1) -> torch.Tensor:
    """(S, 3, H, W) in [0, 1]"""
    return torch.rand(frames, 3, *IMAGE_HW, generator=torch.Generator().manual_seed(seed))
