"""VGGT against the tiny instance of its reference, and its parts against each other."""

from __future__ import annotations

import re

import pytest
import torch
from reference_fixture import (
    RecordingPlan,
    ReferenceFixture,
    assert_all_close,
    error,
    manifest_state,
    meta_state,
    recorded_outputs,
)

from spark3r_core.attention.plan import BlockCausal, Dense
from spark3r_core.models.vggt import VGGT, VGGTConfig

TRACKER_OUTPUTS = ("track", "vis", "conf")


def released_keys(state: dict) -> dict:
    return {name: value for name, value in state.items() if not any(re.match(p, name) for p, _ in VGGT.dropped_keys)}


@pytest.fixture(scope="module")
def fixture() -> ReferenceFixture:
    return ReferenceFixture("vggt_tiny_a")


@pytest.fixture(scope="module")
def model(fixture: ReferenceFixture) -> VGGT:
    config = VGGTConfig(**{k: v for k, v in fixture.constructor.items() if not k.startswith("track_")})
    model = VGGT(config).eval()
    model.load_state_dict(released_keys(fixture.state), strict=True)
    return model


@torch.inference_mode()
def test_every_output_of_the_plain_forward(model: VGGT, fixture: ReferenceFixture) -> None:
    prediction = model.predict(model.decode(model.encode(fixture.images), Dense()), points=True)
    assert_all_close(prediction.raw, fixture.named("output."), without=TRACKER_OUTPUTS)


@torch.inference_mode()
def test_every_intermediate_tensor(model: VGGT, fixture: ReferenceFixture) -> None:
    modules = {"patch_tokens": model.aggregator.patch_embed}
    modules |= {f"frame_block.{i}": block for i, block in enumerate(model.aggregator.frame_blocks)}
    modules |= {f"global_block.{i}": block for i, block in enumerate(model.aggregator.global_blocks)}
    plan = RecordingPlan(0)
    with recorded_outputs(modules) as found:
        decoded = model.decode(model.encode(fixture.images), plan)
    found |= {f"global_attn.0.{name}": t for name, t in plan.recorded.items()}
    found |= {f"pose_enc_iter.{i}": t for i, t in enumerate(decoded.extras["pose_enc_passes"].unbind(1))}
    assert_all_close(found, fixture.named("mid."))


@torch.inference_mode()
def test_a_single_frame(model: VGGT, fixture: ReferenceFixture) -> None:
    prediction = model.predict(model.decode(model.encode(fixture.images[:, :1]), Dense()))
    assert_all_close(prediction.raw, fixture.named("output_single."))


@torch.inference_mode()
def test_frames_that_see_only_the_past(model: VGGT, fixture: ReferenceFixture) -> None:
    prediction = model.predict(model.decode(model.encode(fixture.images), BlockCausal([1, 1, 1])))
    assert_all_close(prediction.raw, fixture.named("output_causal."))
