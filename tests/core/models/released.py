"""VGGT, pi3, Pi3X and VGGT-Omega as the tests build them: a tiny instance with the fixture's weights."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import NamedTuple

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.interface import Backbone, Decoded, Prediction
from spark3r_core.models.pi3 import Pi3, Pi3Config
from spark3r_core.models.pi3x import Pi3X, Pi3XConfig
from spark3r_core.models.vggt import VGGT, VGGTConfig
from spark3r_core.models.vggt_omega import VGGTOmega, VGGTOmegaConfig
from tests.core.models.reference_fixture import ReferenceFixture


class Family(NamedTuple):
    model: type[Backbone]
    config: type
    manifests: tuple[str, ...]


FAMILIES = {
    "vggt": Family(VGGT, VGGTConfig, ("vggt_1b",)),
    "pi3": Family(Pi3, Pi3Config, ("pi3",)),
    "pi3x": Family(Pi3X, Pi3XConfig, ("pi3x",)),
    "vggt_omega": Family(VGGTOmega, VGGTOmegaConfig, ("vggt_omega_1b", "vggt_omega_1b_text")),
}


def without_dropped(model: type[Backbone], keys: dict) -> dict:
    """A state dict less the drop table of its family."""
    return {key: value for key, value in keys.items() if not any(re.match(p, key) for p, _ in model.dropped_keys)}


@cache
def tiny(family: str) -> tuple[Backbone, ReferenceFixture]:
    """The fixture's model, loaded strictly; shared between tests, so leave it as it is."""
    fixture, (model_class, config_class, _) = ReferenceFixture(f"{family}_tiny_a"), FAMILIES[family]
    sizes = {field.name for field in dataclasses.fields(config_class)} & fixture.constructor.keys()
    model = model_class(config_class(**{name: fixture.constructor[name] for name in sizes}))
    model.load_state_dict(without_dropped(model_class, fixture.state), strict=True)
    return model.eval().requires_grad_(False), fixture


def predict(model: Backbone, decoded: Decoded) -> Prediction:
    """All that the reference reports: VGGT's points and Pi3X's metric scale come on request."""
    if isinstance(model, VGGT):
        return model.predict(decoded, points=True)
    if isinstance(model, Pi3X):
        return model.predict(decoded, metric=model.metric_scale(decoded))
    return model.predict(decoded)


def forward(model: Backbone, images, plan: AttentionPlan) -> Prediction:
    return predict(model, model.decode(model.encode(images), plan))
