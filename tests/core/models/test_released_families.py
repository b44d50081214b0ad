"""Laws that hold for every released family alike."""

from __future__ import annotations

import copy

import pytest
import torch

from spark3r_core.attention.plan import Dense
from spark3r_core.attention.streaming import Streaming
from spark3r_core.errors import ImageError
from spark3r_core.memory.budget import allocate
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.memory.policy import spread_victim
from spark3r_core.models.checkpoint import materialise
from spark3r_core.models.interface import Decoded
from spark3r_core.models.layers import set_compute_dtype
from spark3r_core.models.pi3x import Pi3X
from spark3r_core.models.random_init import random_init
from tests.core.models.reference_fixture import (
    RecordingPlan,
    assert_all_close,
    error,
    manifest_state,
    meta_state,
    seeded,
)
from tests.core.models.released import FAMILIES, forward, predict, tiny, without_dropped

NATIVE_4_TO_3 = {"vggt": (392, 518), "pi3": (434, 574), "pi3x": (434, 574), "vggt_omega": (448, 592)}
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)


def joined(windows: list[Decoded]) -> Decoded:
    taps = tuple(torch.cat(parts, 1) for parts in zip(*(w.taps for w in windows), strict=True))
    return Decoded(taps, torch.cat([w.pose for w in windows], 1), windows[0].image_hw)


@EVERY_FAMILY
@torch.inference_mode()
def test_frame_by_frame_through_a_lossless_memory_is_the_causal_reference(family: str) -> None:
    model, fixture = tiny(family)
    frames = fixture.images.shape[1]
    layers = model.cross_layers(tuple(fixture.images.shape[-2:]))
    page_bytes = [layer.page_bytes(torch.float32) for layer in layers]
    memory = KVMemory(layers, allocate(page_bytes, [True] * len(layers), 1, None, max_pages=frames + 3))
    windows = []
    for frame in range(frames):
        memory.begin([frame])
        encoded = model.encode(fixture.images[:, frame : frame + 1])
        windows.append(model.decode(encoded, Streaming(memory), reference=0 if frame == 0 else None))
        memory.commit({frame}, lambda layer, held: spread_victim(held, {0}))
    assert_all_close(predict(model, joined(windows)).raw, fixture.named("output_causal."))


@pytest.mark.parametrize(
    ("family", "manifest", "dropped"),
    [
        ("vggt", "vggt_1b", {"track_head": 394, "aggregator.patch_embed.mask_token": 1}),
        ("pi3", "pi3", {}),
        ("pi3x", "pi3x", {"depth_encoder": 343, "depth_emb": 1, "ray_embed": 2, "pose_inject_blk": 90}),
        ("vggt_omega", "vggt_omega_1b", {"aggregator.patch_embed.mask_token": 1}),
        ("vggt_omega", "vggt_omega_1b_text", {"aggregator.patch_embed.mask_token": 1, "text_alignment_head": 71}),
    ],
)
def test_full_size_model_has_exactly_the_released_keys_less_the_drop_table(
    family: str, manifest: str, dropped: dict[str, int]
) -> None:
    model_class = FAMILIES[family].model
    with torch.device("meta"):
        model = model_class()
    released = manifest_state(manifest)
    kept = without_dropped(model_class, released)
    assert meta_state(model) == kept
    assert len(released) - len(kept) == sum(dropped.values())
    for part, count in dropped.items():
        assert sum(f"{key}.".startswith(f"{part}.") for key in released.keys() - kept.keys()) == count, part


@EVERY_FAMILY
@torch.no_grad()
def test_full_size_forward_never_waits_for_a_value_and_has_the_promised_shapes(family: str) -> None:
    with torch.device("meta"):  # reading a value on this device raises
        model = FAMILIES[family].model().to("meta").requires_grad_(False)
        images = torch.empty(1, 2, 3, *NATIVE_4_TO_3[family])
    prediction = forward(model, images, Dense())
    height, width = NATIVE_4_TO_3[family]
    assert prediction.depth.shape == prediction.confidence.shape == (1, 2, height, width)
    assert prediction.world_from_camera.shape == (1, 2, 4, 4)
    assert prediction.intrinsics.shape == (1, 2, 3, 3)


@EVERY_FAMILY
def test_chunks_batches_and_choice_of_frames_do_not_change_results(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, fixture = tiny(family)
    images = torch.cat([fixture.images[:, :2], seeded(1, 2, 3, *fixture.images.shape[-2:])], 1)
    images = torch.cat([images, images.flip(1)])  # two scenes of four frames
    whole = [predict(model, model.decode(model.encode(scene[None]), Dense())) for scene in images]
    module = __import__(FAMILIES["pi3" if family == "pi3x" else family].model.__module__, fromlist=["HEAD_FRAMES"])
    monkeypatch.setattr(module, "HEAD_FRAMES", 3)
    monkeypatch.setattr(model, "frames_per_chunk", 3)
    decoded = model.decode(model.encode(images), Dense())
    both, chosen = predict(model, decoded), model.predict(decoded, [3, 1])
    assert error(both.depth, torch.cat([p.depth for p in whole])) < 2e-5
    assert error(both.world_from_camera, torch.cat([p.world_from_camera for p in whole])) < 2e-5
    for name, value in model.predict(decoded).raw.items():
        assert error(chosen.raw[name], value[:, [3, 1]]) < 2e-5, name
    assert error(model.poses(decoded), model.predict(decoded).world_from_camera) < 1e-6


@EVERY_FAMILY
def test_what_prediction_promises_follows_from_the_raw_outputs(family: str) -> None:
    model, fixture = tiny(family)
    prediction = forward(model, fixture.images, Dense())
    eye = torch.eye(4).expand_as(prediction.world_from_camera)
    if "extrinsics" in prediction.raw:
        product = prediction.raw["extrinsics"] @ prediction.world_from_camera
        assert torch.allclose(product, eye[..., :3, :], atol=1e-5)
        assert error(prediction.confidence, 1 - 1 / prediction.raw["depth_conf"]) < 1e-5
        assert error(prediction.depth, prediction.raw["depth"]) == 0
    else:
        assert error(prediction.world_from_camera, prediction.raw["camera_poses"]) == 0
        assert error(prediction.confidence, prediction.raw["conf"].sigmoid()) == 0
        assert error(prediction.depth, prediction.raw["local_points"][..., 2]) == 0
    rotation = prediction.world_from_camera[..., :3, :3]
    assert torch.allclose(rotation @ rotation.transpose(-1, -2), eye[..., :3, :3], atol=1e-5)


@EVERY_FAMILY
def test_bf16_trunk_keeps_heads_norms_and_residuals_in_float32(family: str) -> None:
    model, fixture = copy.deepcopy(tiny(family)[0]), tiny(family)[1]
    exact = forward(model, fixture.images, Dense())
    set_compute_dtype(model, torch.bfloat16)
    assert model.attention_dtype == torch.bfloat16
    layers = model.cross_layers(tuple(fixture.images.shape[-2:]))
    trunk, last = RecordingPlan(layer=0), RecordingPlan(layer=len(layers) - 1)
    decoded = model.decode(model.encode(fixture.images), trunk)
    assert {t.dtype for t in trunk.recorded.values()} == {torch.bfloat16}
    model.decode(model.encode(fixture.images), last)
    assert {t.dtype for t in last.recorded.values()} == {
        torch.float32 if layers[-1].kind == "camera" else torch.bfloat16
    }
    prediction = predict(model, decoded)
    assert decoded.taps[0].dtype == prediction.depth.dtype == prediction.confidence.dtype == torch.float32
    assert 0 < error(prediction.depth, exact.depth) < 0.1
    head_weights = [p.dtype for name, p in model.named_parameters() if "_head." in name]
    assert set(head_weights) == {torch.float32}
    if isinstance(model, Pi3X):
        assert model.metric_decoder.projects_x.weight.dtype == torch.float32


@EVERY_FAMILY
@torch.inference_mode()
def test_random_weights_give_finite_geometry(family: str) -> None:
    model, fixture = tiny(family)
    with torch.device("meta"):
        fresh = type(model)(model.config)
    materialise(fresh, "cpu", torch.bfloat16)
    random_init(fresh).eval()
    prediction = forward(fresh, seeded(1, 3, *fixture.images.shape[2:]), Dense())
    for name, value in prediction.raw.items():
        assert bool(value.isfinite().all()), name
    assert bool(prediction.intrinsics.isfinite().all())
    assert 1e-3 < float(prediction.depth.median()) < 1e3


@EVERY_FAMILY
def test_wrong_inputs_are_named(family: str) -> None:
    model, fixture = tiny(family)
    height, width = fixture.images.shape[-2:]
    with pytest.raises(ImageError, match=f"multiples of {model.patch_size}"):
        model.encode(seeded(1, 1, 3, height, width - 1))
    with pytest.raises(ImageError, match="shape"):
        model.encode(seeded(1, 3, height, width))
