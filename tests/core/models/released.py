"""The released families as the tests build them: a tiny instance with its fixture's weights."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import NamedTuple

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.da3 import DA3
from spark3r_core.models.interface import Backbone, Decoded, Prediction
from spark3r_core.models.pi3 import Pi3, Pi3Config
from spark3r_core.models.pi3x import Pi3X, Pi3XConfig
from spark3r_core.models.vggt import VGGT, VGGTConfig
from spark3r_core.models.vggt_omega import VGGTOmega, VGGTOmegaConfig
from tests.core.models.reference_fixture import ReferenceFixture
from tools.parity_fixture import da3_config


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


DA3_SIZES = ("da3", "da3giant")  # DA3's constructor has other names than its config, so it stands beside FAMILIES


def without_dropped(model: type[Backbone], keys: dict) -> dict:
    """A state dict less the drop table of its family."""
    return {key: value for key, value in keys.items() if not any(re.match(p, key) for p, _ in model.dropped_keys)}


@cache
def tiny(family: str) -> tuple[Backbone, ReferenceFixture]:
    """The fixture's model, loaded strictly; shared between tests, so leave it as it is.

    family: of FAMILIES or DA3_SIZES. DA3's fixtures hold images that are normalised already.
    """
    fixture = ReferenceFixture(f"{family}_tiny_a")
    model: Backbone
    if family in DA3_SIZES:
        model = DA3(da3_config(fixture.constructor))
    else:
        model_class, config_class, _ = FAMILIES[family]
        sizes = {field.name for field in dataclasses.fields(config_class)} & fixture.constructor.keys()
        model = model_class(config_class(**{name: fixture.constructor[name] for name in sizes}))
    model.load_state_dict(without_dropped(type(model), fixture.state), strict=True)
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
