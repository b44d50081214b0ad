"""VGGT against its reference's numbers, and what its two kinds of tokens mean."""

from __future__ import annotations

import pytest
import torch

from spark3r_core.attention.plan import BlockCausal, Dense
from spark3r_core.models.vggt import add_special_tokens
from tests.core.models.reference_fixture import RecordingPlan, assert_all_close, error, recorded_outputs
from tests.core.models.released import forward, tiny


def test_all_frames() -> None:
    model, fixture = tiny("vggt")
    assert_all_close(
        forward(model, fixture.images, Dense()).raw, fixture.named("output."), without=model.dropped_outputs
    )


def test_a_single_frame_and_frames_that_see_only_the_past() -> None:
    model, fixture = tiny("vggt")
    assert_all_close(forward(model, fixture.images[:, :1], Dense()).raw, fixture.named("output_single."))
    causal = forward(model, fixture.images, BlockCausal([1] * fixture.images.shape[1]))
    assert_all_close(causal.raw, fixture.named("output_causal."))


def test_intermediate_tensors() -> None:
    model, fixture = tiny("vggt")
    modules = {"patch_tokens": model.aggregator.patch_embed}
    modules |= {f"frame_block.{i}": block for i, block in enumerate(model.aggregator.frame_blocks)}
    modules |= {f"global_block.{i}": block for i, block in enumerate(model.aggregator.global_blocks)}
    plan = RecordingPlan(layer=0)
    with recorded_outputs(modules) as found:
        decoded = model.decode(model.encode(fixture.images), plan)
    found |= {f"global_attn.0.{name}": t for name, t in plan.recorded.items()}
    found |= {f"pose_enc_iter.{i}": t for i, t in enumerate(decoded.extras["pose_enc_passes"].unbind(1))}
    assert_all_close(found, fixture.named("mid."))


def test_points_are_formed_on_request_only() -> None:
    model, fixture = tiny("vggt")
    decoded = model.decode(model.encode(fixture.images), Dense())
    assert "world_points" not in model.predict(decoded).raw
    assert "world_points" in model.predict(decoded, points=True).raw


def test_a_field_of_view_of_zero_leaves_finite_intrinsics() -> None:
    model, fixture = tiny("vggt")
    decoded = model.decode(model.encode(fixture.images[:, :1]), Dense())
    decoded.pose[..., 7:] = 0.0
    prediction = model.predict(decoded)
    assert bool(prediction.raw["intrinsics"][..., 0, 0].isinf().all())  # what the reference reports
    assert bool(prediction.intrinsics.isfinite().all())


def test_camera_head_layers_follow_the_global_ones() -> None:
    model, _ = tiny("vggt")
    layers = model.cross_layers((42, 56))
    assert [layer.kind for layer in layers] == ["global"] * 4 + ["camera"] * 8
    assert [layer.name for layer in layers[-3:]] == [
        f"camera_head.it{i}.trunk.{j}" for i, j in ((2, 1), (3, 0), (3, 1))
    ]
    assert {(layer.tokens_per_frame, layer.special_tokens) for layer in layers} == {(17, 5), (1, 1)}


def test_the_reference_frame_alone_gets_the_first_slot() -> None:
    camera, registers = torch.tensor([[[[1.0]], [[2.0]]]]), torch.tensor([[[[3.0]], [[4.0]]]])  # (1, 2, 1, 1)
    patches = torch.zeros(2, 3, 1, 1)
    tokens = add_special_tokens(patches, (camera, registers), 1)[..., 0]
    assert tokens.tolist() == [[[2.0, 4.0, 0.0], [1.0, 3.0, 0.0], [2.0, 4.0, 0.0]]] * 2
    assert add_special_tokens(patches, (camera, registers), None)[0, :, 0, 0].tolist() == [2.0] * 3
    with pytest.raises(ValueError, match="not among the 3 frames"):
        add_special_tokens(patches, (camera, registers), 3)


def test_the_reference_follows_its_frame_when_frames_are_reordered() -> None:
    model, fixture = tiny("vggt")
    order = [2, 0, 1]
    plain = model.decode(model.encode(fixture.images), Dense(), reference=0)
    moved = model.decode(model.encode(fixture.images[:, order]), Dense(), reference=order.index(0))
    assert error(moved.pose, plain.pose[:, order]) < 1e-5
    unmarked = model.decode(model.encode(fixture.images), Dense(), reference=None)
    assert error(unmarked.pose, plain.pose) > 1e-3
