"""pi3 and Pi3X against the tiny instances of their references, and their parts against each other."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from reference_fixture import (
    RecordingPlan,
    ReferenceFixture,
    assert_all_close,
    recorded_outputs,
)

from spark3r_core.attention.plan import AttentionPlan, BlockCausal, Dense
from spark3r_core.models.interface import Prediction
from spark3r_core.models.pi3 import Pi3, Pi3Config
from spark3r_core.models.pi3x import Pi3X, Pi3XConfig

FAMILIES = {"pi3": (Pi3, Pi3Config), "pi3x": (Pi3X, Pi3XConfig)}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest) -> tuple[Pi3, ReferenceFixture]:
    fixture = ReferenceFixture(f"{request.param}_tiny_a")
    model_class, config_class = FAMILIES[request.param]
    sizes = {field.name for field in dataclasses.fields(config_class)}
    model = model_class(config_class(**{k: v for k, v in fixture.constructor.items() if k in sizes})).eval()
    kept = {k: v for k, v in fixture.state.items() if not any(re.match(p, k) for p, _ in model.dropped_keys)}
    model.load_state_dict(kept, strict=True)
    return model, fixture


def forward(model: Pi3, images: torch.Tensor, plan: AttentionPlan) -> Prediction:
    decoded = model.decode(model.encode(images), plan)
    if isinstance(model, Pi3X):
        return model.predict(decoded, metric=model.metric_scale(decoded))
    return model.predict(decoded)


@torch.inference_mode()
def test_every_output_of_the_plain_forward(pair: tuple[Pi3, ReferenceFixture]) -> None:
    model, fixture = pair
    assert_all_close(forward(model, fixture.images, Dense()).raw, fixture.named("output."))


@torch.inference_mode()
def test_every_intermediate_tensor(pair: tuple[Pi3, ReferenceFixture]) -> None:
    model, fixture = pair
    modules = {"patch_tokens": model.encoder, "camera_decoder": model.camera_decoder}
    modules |= {"point_decoder": model.point_decoder, "conf_decoder": model.conf_decoder}
    modules |= {f"decoder.{i}": block for i, block in enumerate(model.decoder)}
    plan = RecordingPlan(0)
    with recorded_outputs(modules) as found:
        forward(model, fixture.images, plan)
    found |= {f"global_attn.1.{name}": t for name, t in plan.recorded.items()}
    assert_all_close(found, fixture.named("mid."))


@torch.inference_mode()
def test_a_single_frame(pair: tuple[Pi3, ReferenceFixture]) -> None:
    model, fixture = pair
    assert_all_close(forward(model, fixture.images[:, :1], Dense()).raw, fixture.named("output_single."))


@torch.inference_mode()
def test_frames_that_see_only_the_past(pair: tuple[Pi3, ReferenceFixture]) -> None:
    model, fixture = pair
    plan = BlockCausal([1] * fixture.images.shape[1])
    assert_all_close(forward(model, fixture.images, plan).raw, fixture.named("output_causal."))
