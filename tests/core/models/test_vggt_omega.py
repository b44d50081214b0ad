"""VGGT-Omega against its reference's numbers, its register rounds and its masked bias."""

from __future__ import annotations

import torch

from spark3r_core.attention.plan import BlockCausal, Dense
from tests.core.models.reference_fixture import RecordingPlan, assert_all_close, error, recorded_outputs
from tests.core.models.released import forward, tiny


def test_all_frames() -> None:
    model, fixture = tiny("vggt_omega")
    assert_all_close(
        forward(model, fixture.images, Dense()).raw, fixture.named("output."), without=model.dropped_outputs
    )


def test_a_single_frame_and_frames_that_see_only_the_past() -> None:
    model, fixture = tiny("vggt_omega")
    assert_all_close(forward(model, fixture.images[:, :1], Dense()).raw, fixture.named("output_single."))
    causal = forward(model, fixture.images, BlockCausal([1] * fixture.images.shape[1]))
    assert_all_close(causal.raw, fixture.named("output_causal."))


def test_intermediate_tensors() -> None:
    model, fixture = tiny("vggt_omega")
    modules = {"patch_tokens": model.aggregator.patch_embed}
    modules |= {f"frame_block.{i}": block for i, block in enumerate(model.aggregator.frame_blocks)}
    modules |= {f"inter_frame_block.{i}": block for i, block in enumerate(model.aggregator.inter_frame_blocks)}
    plan = RecordingPlan(layer=0)
    with recorded_outputs(modules) as found:
        model.decode(model.encode(fixture.images), plan)
    found |= {f"global_attn.0.{name}": t for name, t in plan.recorded.items()}
    assert_all_close(found, fixture.named("mid."))


def test_layers_in_the_order_of_the_rounds() -> None:
    layers = tiny("vggt_omega")[0].cross_layers((48, 64))
    assert [layer.kind for layer in layers] == ["global", "register", "global", "global", "register", "global"] + [
        "camera"
    ] * 2
    assert [layer.tokens_per_frame for layer in layers] == [29, 17, 29, 29, 17, 29, 17, 17]
    assert {layer.special_tokens for layer in layers} == {17}


def test_register_rounds_leave_patches_alone() -> None:
    model, fixture = tiny("vggt_omega")
    blocks = model.aggregator
    with recorded_outputs({"before": blocks.frame_blocks[1], "after": blocks.inter_frame_blocks[1]}) as found:
        model.decode(model.encode(fixture.images), Dense())
    assert [found["before"].shape[2], found["after"].shape[2]] == [29, 17]


def test_the_bias_mask_of_the_file_is_applied() -> None:
    model, fixture = tiny("vggt_omega")
    attention = model.aggregator.frame_blocks[0].attn
    mask = attention.qkv.bias_mask
    assert torch.equal(mask, fixture.state["aggregator.frame_blocks.0.attn.qkv.bias_mask"])
    assert 0 < float(mask.mean()) < 1
    out = attention.qkv(torch.zeros(1, 24))[0]
    assert torch.equal(out, attention.qkv.bias * mask)


def test_the_reference_follows_its_frame_when_frames_are_reordered() -> None:
    model, fixture = tiny("vggt_omega")
    order = [2, 0, 1]
    plain = model.decode(model.encode(fixture.images), Dense(), reference=0)
    moved = model.decode(model.encode(fixture.images[:, order]), Dense(), reference=order.index(0))
    assert error(moved.pose, plain.pose[:, order]) < 1e-5
    assert error(model.decode(model.encode(fixture.images), Dense(), reference=None).pose, plain.pose) > 1e-3
