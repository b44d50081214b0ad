"""The bundled network's architecture: its size, its cost, and the start that makes matching emerge."""

from __future__ import annotations

import hashlib
import json
import math
from importlib import resources

import numpy as np
import torch

from spark3r_core.attention.plan import Dense
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.models.bundled import BUNDLED_CONFIG, build_bundled, flops_per_frame, sine_positions
from spark3r_core.models.registry import load_model
from spark3r_core.synthetic.sequence import SyntheticSequence


def test_sizes_and_cost_keep_what_was_promised() -> None:
    model = build_bundled()
    parameters = sum(p.numel() for p in model.parameters())
    assert 2e6 <= parameters <= 6e6
    assert 2 * parameters < 15 * 2**20  # float16
    total = sum(flops_per_frame(BUNDLED_CONFIG, (12, 16), visible_frames=12).values())
    assert total <= 4e9
    assert BUNDLED_CONFIG.native_long_side // BUNDLED_CONFIG.patch_size >= 16


def test_flop_count_of_the_linears_is_that_of_their_weights() -> None:
    model = build_bundled()
    blocks = model.model.backbone.pretrained.blocks
    weights = sum(m.weight.numel() for m in blocks.modules() if isinstance(m, torch.nn.Linear))
    assert flops_per_frame(BUNDLED_CONFIG, (12, 16), 1)["linears"] == 2.0 * weights * 193


def test_untrained_network_predicts_no_motion_and_a_plausible_camera() -> None:
    torch.manual_seed(0)
    model = build_bundled().eval()
    with torch.no_grad():
        prediction = model.predict(model.decode(model.encode(torch.rand(1, 3, 3, 144, 192)), Dense()))
    turned = prediction.world_from_camera[..., :3, :3] - torch.eye(3)
    assert turned.abs().max() < 0.3
    focal = prediction.intrinsics[..., 0, 0]
    fov = torch.rad2deg(2 * torch.atan(192 / (2 * focal)))
    assert ((fov > 30) & (fov < 100)).all()
    assert torch.isfinite(prediction.depth).all()
    assert (prediction.depth > 0).all()


def test_equal_tokens_attend_to_each_other_at_the_start() -> None:
    torch.manual_seed(0)
    attention = build_bundled().model.backbone.pretrained.blocks[1].attn
    tokens = torch.randn(40, BUNDLED_CONFIG.embed_dim)
    q, k, _ = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, attention.head_dim)).unbind(1)
    logits = torch.einsum("ihd,jhd->hij", attention.q_norm(q), attention.k_norm(k)) / math.sqrt(attention.head_dim)
    assert (logits.argmax(-1) == torch.arange(40)).all()


def test_positions_tell_every_cell_from_every_other() -> None:
    table = sine_positions(16, 160)
    nearest = torch.cdist(table, table) + 1e3 * torch.eye(256)
    assert nearest.min() > 0.3


def test_other_aspect_ratios_run() -> None:
    model = build_bundled().eval()
    for image_hw in ((216, 120), (96, 312)):
        with torch.no_grad():
            prediction = model.predict(model.decode(model.encode(torch.rand(1, 2, 3, *image_hw)), Dense()))
        assert prediction.depth.shape == (1, 2, *image_hw)


def test_packaged_weights_load_and_see_motion() -> None:
    model = load_model("bundled")
    errors, motions = [], []
    for seed in (100_017, 100_021):
        sequence = SyntheticSequence(seed, 4, kind="handheld", image_hw=(144, 192), augment=False, step=9.0)
        images, _, poses, _ = (np.stack(part) for part in zip(*map(sequence.frame, range(4)), strict=True))
        window = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        pairs = torch.stack([window[:-1], window[1:]], 1)  # three windows of two frames
        with torch.no_grad():
            found = model.predict(model.decode(model.encode(pairs), Dense())).world_from_camera[..., :3, :3].numpy()
        true = np.swapaxes(poses[:-1, :3, :3], 1, 2) @ poses[1:, :3, :3]
        turned = np.swapaxes(found[:, 0], 1, 2) @ found[:, 1]
        errors += list(rotation_angle(np.swapaxes(true, 1, 2) @ turned))
        motions += list(rotation_angle(true))
    assert np.median(errors) < 0.8 * np.median(motions)


def test_packaged_summary_tells_where_the_weights_come_from() -> None:
    folder = resources.files("spark3r_core.weights")
    about = json.loads((folder / "bundled.json").read_text())
    assert about["sha256"] == hashlib.sha256((folder / "bundled.safetensors").read_bytes()).hexdigest()
    assert about["training"]["steps"] > 0
    assert about["training"]["frames_seen"] > about["training"]["steps"]
