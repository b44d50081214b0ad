"""What the tests of every released family share: a tiny fixture of its reference, and how closely to match it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from spark3r_core.attention.plan import AttentionPlan, Dense
from spark3r_core.models.interface import CrossLayer

DATA = Path(__file__).parents[2] / "data"
TOLERANCE = 1e-4  # of the rms; the references' own float32 noise is up to 1.5e-5


class ReferenceFixture:
    """One `<name>.safetensors` with its `.json`: weights, inputs, outputs, intermediate tensors of a tiny instance."""

    def __init__(self, name: str) -> None:
        self.tensors = load_file(DATA / f"{name}.safetensors")
        self.constructor = json.loads((DATA / f"{name}.json").read_text())["constructor"]
        self.images = self.tensors["input.images"]
        self.state = self.named("state.")

    def named(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def error(actual: Tensor, expected: Tensor) -> float:
    """max |difference| / rms of the expected tensor; shapes may differ in how frames and tokens are joined."""
    assert actual.numel() == expected.numel(), f"{tuple(actual.shape)} against {tuple(expected.shape)}"
    difference = (actual.reshape(expected.shape).double() - expected.double()).abs().max()
    return float(difference / expected.double().square().mean().sqrt())


def assert_all_close(actual: dict[str, Tensor], expected: dict[str, Tensor], without: Sequence[str] = ()) -> None:
    """Every expected tensor must be there and within `TOLERANCE`; `without` names those of heads left out."""
    compared = {name: t for name, t in expected.items() if name not in without}
    assert compared
    assert sorted(compared.keys() - actual.keys()) == []
    errors = {name: error(actual[name], t) for name, t in compared.items()}
    assert all(value < TOLERANCE for value in errors.values()), errors  # false for NaN too


class RecordingPlan:
    """Passes everything to another plan and keeps q, k, v and the output of one layer."""

    def __init__(self, layer: int, inner: AttentionPlan | None = None) -> None:
        self.layer, self.inner = layer, inner or Dense()
        self.recorded: dict[str, Tensor] = {}
        self.cross_layers: Sequence[CrossLayer] = ()

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        self.cross_layers = cross_layers
        self.inner.begin(frames, cross_layers)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        out = self.inner.attend(layer, q, k, v, q_unrotated=q_unrotated)
        if layer == self.layer:
            self.recorded = {"q": q, "k": k, "v": v, "out": out}
        return out


@contextmanager
def recorded_outputs(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Outputs of the named modules, filled in while the block runs; frames run in chunks are joined along axis 1."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            parts = [outputs[name]] if name in outputs else []
            outputs[name] = torch.cat([*parts, output.detach()], 1)

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def meta_state(model: nn.Module) -> dict[str, tuple[list[int], str]]:
    """Names, shapes and dtypes as the manifests write them."""
    return {name: (list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in model.state_dict().items()}


def manifest_state(name: str) -> dict[str, tuple[list[int], str]]:
    """The state dict of a released checkpoint: name → (shape, dtype)."""
    manifest = json.loads((DATA / f"{name}.json").read_text())
    return {key: (shape, dtype) for key, (shape, dtype) in manifest["state_dict"].items()}


def seeded(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))
