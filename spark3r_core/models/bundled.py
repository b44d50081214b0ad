"""The bundled network: a Depth-Anything-3 of 4 million parameters, small enough to ship and to run on a laptop CPU.

It is no family of its own: `DA3` with the sizes below, a convolutional stem instead of the linear patch embedding, no
ray branch and no pose encoder. Its weights come with the package; docs/bundled_model.md says how they were made.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spark3r_core.models.da3 import DA3, DA3Config

# 192x144 images give 16x12 tokens: motion between frames is about one token, which is what matching needs to emerge.
BUNDLED_CONFIG = DA3Config(
    embed_dim=160,
    depth=10,
    num_heads=5,
    alt_start=1,
    out_layers=(3, 5, 7, 9),
    head_features=32,
    head_out_channels=(32, 32, 48, 64),
    img_size=192,
    patch_size=12,
    stem="conv",
    with_rays=False,
    with_cam_enc=False,
    native_long_side=192,
    native_patches=192,
    stream_pages=36,  # no layer is sensitive, so each holds 12: 3.9 GFLOP per frame (docs/streaming.md)
    refines=True,  # poses of a network this small are several times worse than what pixels can tell
    reanchor_every=48,  # it has learned to compare near views: far from its anchor it guesses
)

LOGIT_SCALE = math.exp(0.5)
POSITION_AMPLITUDE = 0.3


def build_bundled(config: DA3Config = BUNDLED_CONFIG) -> DA3:
    """A network of the bundled architecture with weights to start training from (torch's global generator)."""
    model = DA3(config)
    initialise(model)
    return model


@torch.no_grad()
def initialise(model: DA3) -> None:
    """Starting weights that let a network this small find correspondences within minutes.

    Cross-frame queries and keys start equal, so that equal tokens attend to each other, with a learned logit scale in
    `q_norm.weight` that starts at e^0.5. Positions start as sines and cosines: what attention fetches must say where
    it came from. Residual branches are damped by depth. The pose starts at no motion and 57 degrees of view.
    """
    vit: Any = model.model.backbone.pretrained
    depth = len(vit.blocks)
    for index, block in enumerate(vit.blocks):
        for module in block.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        dim = block.attn.qkv.in_features
        nn.init.xavier_uniform_(block.attn.qkv.weight[:dim])
        block.attn.proj.weight.mul_((2 * depth) ** -0.5)
        block.mlp.fc2.weight.mul_((2 * depth) ** -0.5)
        if index >= model.config.alt_start and index % 2:
            block.attn.qkv.weight[dim : 2 * dim] = block.attn.qkv.weight[:dim]
            block.attn.q_norm.weight.fill_(LOGIT_SCALE)
    side = round((vit.pos_embed.shape[1] - 1) ** 0.5)
    vit.pos_embed[0, 1:] = POSITION_AMPLITUDE * sine_positions(side, vit.pos_embed.shape[-1])
    for token in (vit.cls_token, vit.camera_token):
        nn.init.normal_(token, std=0.2)
    for module in vit.patch_embed.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    decoder: Any = model.model.cam_dec
    for layer in (decoder.fc_t, decoder.fc_qvec, decoder.fc_fov[0]):
        layer.weight.mul_(0.1)
        nn.init.zeros_(layer.bias)
    decoder.fc_qvec.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    decoder.fc_fov[0].bias.fill_(1.0)


def sine_positions(side: int, dim: int) -> Tensor:
    """(side * side, dim): sines and cosines of row and column at wavelengths of 2 to 4 `side`, row by row."""
    quarter = dim // 4
    wavelength = 2.0 * (2.0 * side) ** (torch.arange(quarter) / max(1, quarter - 1))
    angle = 2 * math.pi * torch.arange(side)[:, None] / wavelength
    line = torch.cat([angle.sin(), angle.cos()], -1)
    row, column = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    table = torch.zeros(side, side, dim)
    table[..., : 4 * quarter] = torch.cat([row, column], -1)
    return table.reshape(side * side, dim)


def flops_per_frame(config: DA3Config, grid_hw: tuple[int, int], visible_frames: int) -> dict[str, float]:
    """Multiply-adds times two of one new frame, by part, when its queries see `visible_frames` frames' keys."""
    patches = grid_hw[0] * grid_hw[1]
    tokens, width, layers = patches + 1, config.embed_dim, range(config.depth)
    crossing = sum(i >= config.alt_start and i % 2 == 1 for i in layers)
    pixels = patches * config.patch_size**2
    stem = _stem_flops(config, pixels)
    f, out = config.head_features, config.head_out_channels
    level = [16 * patches, 4 * patches, patches, patches // 4]
    project = sum(2 * 2 * width * c * patches for c in out)
    resize = 2 * patches * (16 * out[0] ** 2 + 4 * out[1] ** 2) + 2 * 9 * out[3] ** 2 * level[3]
    fuse = sum(2 * 9 * c * f * n for c, n in zip(out, level, strict=True))
    fuse += sum((4 if i < 3 else 2) * 2 * 9 * f * f * n + 2 * f * f * n for i, n in enumerate(level))
    last = 2 * 9 * f * (f // 2) * 64 * patches + (2 * 9 * (f // 2) * 32 + 2 * 32 * 2) * pixels
    return {
        "stem": stem,
        "linears": config.depth * 24.0 * width**2 * tokens,
        "attention in frame": 4.0 * (config.depth - crossing) * tokens**2 * width,
        "attention across frames": 4.0 * crossing * tokens**2 * visible_frames * width,
        "camera decoder": 16.0 * width**2,
        "dense head": float(project + resize + fuse + last),
    }


def _stem_flops(config: DA3Config, pixels: int) -> float:
    stem = DA3(config).model.backbone.pretrained.patch_embed
    total, area = 0.0, float(pixels)
    for module in stem.modules():
        if isinstance(module, nn.Conv2d):
            area /= module.stride[0] * module.stride[1]
            total += 2.0 * area * module.weight.numel()
    return total
