"""VGGT-Omega against the tiny instance of its reference, and its parts against each other."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from reference_fixture import RecordingPlan, ReferenceFixture, assert_all_close, recorded_outputs

from spark3r_core.attention.plan import BlockCausal, Dense
from spark3r_core.models.vggt_omega import VGGTOmega, VGGTOmegaConfig

TEXT_OUTPUTS = ("text_alignment_embedding", "text_alignment_token")


@pytest.fixture(scope="module")
def fixture() -> ReferenceFixture:
    return ReferenceFixture("vggt_omega_tiny_a")


@pytest.fixture(scope="module")
def model(fixture: ReferenceFixture) -> VGGTOmega:
    sizes = {field.name for field in dataclasses.fields(VGGTOmegaConfig)}
    model = VGGTOmega(VGGTOmegaConfig(**{k: v for k, v in fixture.constructor.items() if k in sizes})).eval()
    kept = {k: v for k, v in fixture.state.items() if not any(re.match(p, k) for p, _ in model.dropped_keys)}
    model.load_state_dict(kept, strict=True)
    return model


@torch.inference_mode()
def test_every_output_of_the_plain_forward(model: VGGTOmega, fixture: ReferenceFixture) -> None:
    prediction = model.predict(model.decode(model.encode(fixture.images), Dense()))
    assert_all_close(prediction.raw, fixture.named("output."), without=TEXT_OUTPUTS)


@torch.inference_mode()
def test_every_intermediate_tensor(model: VGGTOmega, fixture: ReferenceFixture) -> None:
    modules = {"patch_tokens": model.aggregator.patch_embed}
    modules |= {f"frame_block.{i}": block for i, block in enumerate(model.aggregator.frame_blocks)}
    modules |= {f"inter_frame_block.{i}": block for i, block in enumerate(model.aggregator.inter_frame_blocks)}
    plan = RecordingPlan(0)
    with recorded_outputs(modules) as found:
        model.decode(model.encode(fixture.images), plan)
    found |= {f"global_attn.0.{name}": t for name, t in plan.recorded.items()}
    assert_all_close(found, fixture.named("mid."))


@torch.inference_mode()
def test_a_single_frame(model: VGGTOmega, fixture: ReferenceFixture) -> None:
    prediction = model.predict(model.decode(model.encode(fixture.images[:, :1]), Dense()))
    assert_all_close(prediction.raw, fixture.named("output_single."))


@torch.inference_mode()
def test_frames_that_see_only_the_past(model: VGGTOmega, fixture: ReferenceFixture) -> None:
    prediction = model.predict(model.decode(model.encode(fixture.images), BlockCausal([1, 1, 1])))
    assert_all_close(prediction.raw, fixture.named("output_causal."))
