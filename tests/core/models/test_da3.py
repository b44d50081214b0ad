"""Depth-Anything-3 against its reference's numbers, and the laws that streaming and training rely on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spark3r_core.attention.plan import BlockCausal, Dense
from spark3r_core.errors import ImageError
from spark3r_core.models.da3 import DA3, relative_poses
from spark3r_core.models.da3_parts import DA3_CONFIGS, DA3Config
from spark3r_core.models.interface import Encoded
from spark3r_core.models.layers import set_compute_dtype
from spark3r_core.models.random_init import random_init
from tests.core.models.reference_fixture import (
    TOLERANCE,
    RecordingPlan,
    ReferenceFixture,
    assert_all_close,
    error,
    manifest_state,
    meta_state,
    recorded_outputs,
    seeded,
)
from tools.parity_fixture import da3_config

TINY = DA3Config(24, 6, 2, 2, (2, 3, 4, 5), 8, (8, 12, 16, 16), img_size=56, cam_enc_heads=2, cam_enc_depth=1)


@pytest.fixture(scope="module", params=["da3_tiny_a", "da3giant_tiny_a"])
def reference(request: pytest.FixtureRequest) -> tuple[ReferenceFixture, DA3]:
    fixture = ReferenceFixture(request.param)
    model = DA3(da3_config(fixture.constructor))
    model.load_state_dict(fixture.state, strict=True)
    return fixture, model.eval().requires_grad_(False)


def tiny(**changes: object) -> DA3:
    return random_init(DA3(replace(TINY, **changes)), seed=0).requires_grad_(False)


def test_all_frames_with_the_reference_view_and_rays(reference: tuple[ReferenceFixture, DA3]) -> None:
    fixture, model = reference
    decoded = model.decode(model.encode_normalised(fixture.images), Dense(), "saddle_balanced")
    raw = model.predict(decoded, rays=True).raw | {"reference_view": decoded.extras["reference"]}
    assert_all_close(raw, fixture.named("output."))


@pytest.mark.parametrize("name", ["first", "single", "causal", "posed"])
def test_other_modes(reference: tuple[ReferenceFixture, DA3], name: str) -> None:
    fixture, model = reference
    encoded = model.encode_normalised(fixture.images[:, :1] if name == "single" else fixture.images)
    frames = encoded.tokens.shape[1]
    posed = (fixture.tensors["input.posed_extrinsics"], fixture.tensors["input.posed_intrinsics"])
    plan = BlockCausal([1] * frames) if name == "causal" else Dense()
    decoded = model.decode(encoded, plan, "first", posed=posed if name == "posed" else None)
    assert_all_close(model.predict(decoded).raw, fixture.named(f"output_{name}."))


def test_intermediate_tensors(reference: tuple[ReferenceFixture, DA3]) -> None:
    fixture, model = reference
    vit = model.model.backbone.pretrained
    modules = {f"block.{i}": block for i, block in enumerate(vit.blocks)} | {"patch_embed": vit.patch_embed}
    plan = RecordingPlan(layer=0)
    with recorded_outputs(modules) as outputs:
        decoded = model.decode(model.encode_normalised(fixture.images), plan, "saddle_balanced")
    # The reference moves the chosen view to the front from block alt_start - 1 on; ours never leaves its place.
    chosen, frames = int(decoded.extras["reference"]), fixture.images.shape[1]
    order = [chosen, *(i for i in range(frames) if i != chosen)]
    actual = {}
    for name, value in outputs.items():
        value = value.reshape(frames, -1, value.shape[-1])
        moved = name.startswith("block.") and int(name.removeprefix("block.")) >= model.config.alt_start - 1
        actual[name] = value[order] if moved else value
    first_global = plan.cross_layers[0].name.removeprefix("blocks.")
    for name, value in plan.recorded.items():
        by_frame = value.unflatten(2, (frames, -1))[:, :, order]
        actual[f"global_attn.{first_global}.{name}"] = by_frame.flatten(2, 3)
    actual |= {f"feat.{i}": tap for i, tap in enumerate(decoded.taps)}
    expected = fixture.named("mid.")
    # camera features of the earlier taps are read by nobody and not formed; the last one is checked through pose_enc
    assert_all_close(actual, expected, without=[name for name in expected if name.startswith("camera_feat.")])


@pytest.mark.parametrize("name", sorted(DA3_CONFIGS))
def test_full_size_model_has_exactly_the_released_keys(name: str) -> None:
    with torch.device("meta"):
        model = DA3(DA3_CONFIGS[name])
    released = manifest_state(name.replace("-", "_"))
    dropped = {key for key in released if key.startswith(("model.gs_head.", "model.gs_adapter."))}
    assert meta_state(model) == {key: value for key, value in released.items() if key not in dropped}


def test_chunks_do_not_change_results() -> None:
    model, images = tiny(), seeded(2, 10, 3, 28, 42)
    whole = model.predict(model.decode(model.encode(images), reference="middle"), rays=True).raw
    model.frames_per_chunk = 3
    parts = model.predict(model.decode(model.encode(images), reference="middle"), [4, 9], rays=True).raw
    for name, value in parts.items():
        assert error(value, whole[name][:, [4, 9]]) < 1e-5, name


@pytest.mark.parametrize("strategy", ["saddle_balanced", "saddle_sim_range"])
def test_choice_of_reference_does_not_depend_on_frame_order(strategy: str) -> None:
    model, images = tiny(), seeded(1, 5, 3, 28, 42)
    order = [3, 1, 4, 0, 2]
    plain = model.decode(model.encode(images), reference=strategy)
    shuffled = model.decode(model.encode(images[:, order]), reference=strategy)
    assert order[int(shuffled.extras["reference"])] == int(plain.extras["reference"])
    assert error(shuffled.pose, plain.pose[:, order]) < 1e-5


def test_fewer_than_three_frames_take_the_first_and_none_takes_no_frame() -> None:
    model, images = tiny(), seeded(1, 2, 3, 28, 42)
    encoded = model.encode(images)
    assert int(model.decode(encoded, reference="saddle_balanced").extras["reference"]) == 0
    none, first = model.decode(encoded, reference=None), model.decode(encoded, reference=0)
    assert int(none.extras["reference"]) == -1
    assert error(none.pose, first.pose) > 1e-3
    with pytest.raises(ValueError, match="not among the 2 frames"):
        model.decode(encoded, reference=2)


def test_kept_tokens_decode_as_fresh_ones_and_world_from_camera_inverts_extrinsics() -> None:
    model, images = tiny(), seeded(1, 4, 3, 28, 42)
    parts = [model.encode(images[:, :1]), model.encode(images[:, 1:])]
    joined, whole = model.decode(Encoded.cat(parts)), model.decode(model.encode(images))
    prediction = model.predict(whole)
    assert error(model.predict(joined).depth, prediction.depth) < 1e-5
    assert torch.allclose(model.poses(whole), prediction.world_from_camera)
    product = prediction.raw["extrinsics"] @ prediction.world_from_camera
    assert torch.allclose(product, torch.eye(4)[:3].expand_as(product), atol=1e-5)
    assert error(prediction.confidence, 1 - 1 / prediction.raw["depth_conf"]) < TOLERANCE


def test_gradients_reach_every_weight_of_the_bundled_layout_with_a_batch() -> None:
    model = random_init(DA3(replace(TINY, stem="conv", with_rays=False, with_cam_enc=False, patch_size=8)), seed=1)
    images = seeded(2, 3, 3, 24, 40)
    before = images.clone()
    prediction = model.predict(model.decode(model.encode(images)))
    loss = prediction.depth.log().mean() + prediction.confidence.mean() + prediction.raw["pose_enc"].square().sum()
    loss.backward()
    assert torch.equal(images, before)
    unreached = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().any())]
    assert unreached == []


def test_bf16_trunk_keeps_heads_norms_and_residuals_in_float32() -> None:
    model, images = tiny(), seeded(1, 3, 3, 28, 42)
    exact = model.predict(model.decode(model.encode(images)))
    set_compute_dtype(model, torch.bfloat16)
    plan = RecordingPlan(layer=0)
    decoded = model.decode(model.encode(images), plan)
    assert {t.dtype for t in plan.recorded.values()} == {torch.bfloat16}
    assert decoded.taps[0].dtype == decoded.pose.dtype == torch.float32
    assert model.model.head.projects[0].weight.dtype == torch.float32
    assert 0 < error(model.predict(decoded).depth, exact.depth) < 0.1


def test_relative_poses_put_view_zero_at_the_origin_with_unit_median_distance() -> None:
    camera_from_world = torch.eye(4).repeat(1, 4, 1, 1)
    camera_from_world[0, :, 0, 3] = torch.tensor([5.0, 3.0, 1.0, -3.0])
    relative = relative_poses(camera_from_world)
    assert torch.allclose(relative[0, 0], torch.eye(4))
    assert torch.allclose(relative[0, :, 0, 3], torch.tensor([0.0, -1.0, -2.0, -4.0]) * 2 / 2)


def test_wrong_inputs_are_named() -> None:
    model = tiny(with_rays=False, with_cam_enc=False)
    with pytest.raises(ImageError, match="multiples of 14"):
        model.encode(seeded(1, 1, 3, 28, 41))
    with pytest.raises(ImageError, match="shape"):
        model.encode(seeded(1, 3, 28, 42))
    decoded = model.decode(model.encode(seeded(1, 1, 3, 28, 42)))
    with pytest.raises(ValueError, match="ray branch"):
        model.predict(decoded, rays=True)
    with pytest.raises(ValueError, match="pose encoder"):
        model.decode(model.encode(seeded(1, 1, 3, 28, 42)), posed=(torch.eye(4)[None, None], torch.eye(3)[None, None]))
