"""The models by name: sizes, licences, where their weights belong; and the one function that loads them."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from spark3r_core.errors import CheckpointError
from spark3r_core.models.bundled import BUNDLED_CONFIG
from spark3r_core.models.checkpoint import load_into, load_packaged, materialise, open_checkpoint
from spark3r_core.models.da3 import DA3
from spark3r_core.models.da3_parts import DA3_CONFIGS, DA3Config
from spark3r_core.models.digest import verify_record
from spark3r_core.models.interface import Backbone
from spark3r_core.models.pi3 import Pi3, Pi3Config
from spark3r_core.models.pi3x import Pi3X, Pi3XConfig
from spark3r_core.models.random_init import random_init
from spark3r_core.models.vggt import VGGT, VGGTConfig
from spark3r_core.models.vggt_omega import VGGTOmega, VGGTOmegaConfig
from spark3r_core.user_paths import cache_dir, expand_home, former_cache_dir

FAMILIES: dict[str, Any] = {cls.family: cls for cls in (DA3, VGGT, Pi3, Pi3X, VGGTOmega)}
PERMISSIVE_LICENCES = ("Apache-2.0",)
WEIGHTS_DIR_VARIABLE = "SPARK3R_WEIGHTS"
BUNDLED = "bundled"


@dataclass(frozen=True)
class ModelSpec:
    """One model.

    parameters: of the released file (its manifest), dropped heads included. native_size: (width, height) its
    preprocessing gives a 4:3 picture; tokens_per_frame and kv_bytes_per_frame (all cross-frame layers, bfloat16 but for
    camera heads) are for that size. hub_id: repository on the Hugging Face hub; file_name: the weights file in it.
    """

    name: str
    family: str
    config: Any
    parameters: int
    code_licence: str
    weights_licence: str
    native_size: tuple[int, int]
    tokens_per_frame: int
    kv_bytes_per_frame: int
    hub_id: str | None
    file_name: str

    @property
    def is_noncommercial(self) -> bool:
        """Whether the licence of the weights forbids commercial use."""
        return self.weights_licence not in PERMISSIVE_LICENCES

    def build(self, config: Any = None) -> Backbone:
        """The network on torch's current default device, with whatever weights its layers start with."""
        return FAMILIES[self.family](self.config if config is None else config)


_NC = "CC BY-NC 4.0"
_SAFE = "model.safetensors"
_VGGT_LICENCE = "VGGT License"
_OMEGA_LICENCE = "FAIR Noncommercial Research License"


def _da3(size: str, parameters: int, licence: str, kv: int, hub_id: str) -> ModelSpec:
    name = f"da3-{size}"
    return ModelSpec(
        name, "da3", DA3_CONFIGS[name], parameters, "Apache-2.0", licence, (504, 378), 973, kv, hub_id, _SAFE
    )


_SPECS = (
    ModelSpec(
        BUNDLED, "da3", BUNDLED_CONFIG, 3_983_627, "Apache-2.0", "Apache-2.0",
        (192, 144), 193, 617_600, None, "bundled.safetensors",
    ),
    _da3("small", 34_299_463, "Apache-2.0", 5_978_112, "depth-anything/DA3-SMALL"),
    _da3("base", 135_366_599, "Apache-2.0", 11_956_224, "depth-anything/DA3-BASE"),
    _da3("large", 410_941_767, _NC, 31_883_264, "depth-anything/DA3-LARGE-1.1"),
    _da3("giant", 1_355_674_125, _NC, 83_693_568, "depth-anything/DA3-GIANT-1.1"),
    ModelSpec(
        "vggt-1b", "vggt", VGGTConfig(), 1_256_537_516, _VGGT_LICENCE, _NC,
        (518, 392), 1041, 102_596_608, "facebook/VGGT-1B", _SAFE,
    ),
    ModelSpec(
        "pi3", "pi3", Pi3Config(), 958_696_732, "BSD-3-Clause", _NC,
        (574, 434), 1276, 94_076_928, "yyfz233/Pi3", _SAFE,
    ),
    ModelSpec(
        "pi3x", "pi3x", Pi3XConfig(), 1_360_032_433, "BSD-3-Clause", _NC,
        (574, 434), 1276, 94_076_928, "yyfz233/Pi3X", _SAFE,
    ),
    ModelSpec(
        "vggt-omega-1b", "vggt_omega", VGGTOmegaConfig(), 1_143_814_185, _OMEGA_LICENCE, _OMEGA_LICENCE,
        (592, 448), 1053, 83_410_944, "facebook/VGGT-Omega", "vggt_omega_1b_512.pt",
    ),
)  # fmt: skip
MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}


def model_spec(name: str) -> ModelSpec:
    """The entry of `MODELS`, or a CheckpointError that lists the names."""
    if name not in MODELS:
        raise CheckpointError(f"no model is named {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]


def weights_dir() -> Path:
    """Where weights are looked for: $SPARK3R_WEIGHTS, else spark3r/ in the user's cache directory.

    Raises CheckpointError where neither that variable, XDG_CACHE_HOME nor a home folder is known.
    """
    chosen = os.environ.get(WEIGHTS_DIR_VARIABLE)
    if chosen:
        return Path(chosen)
    folder = cache_dir()
    if folder is None:
        raise CheckpointError(f"this user has no home folder, where weights would be; set ${WEIGHTS_DIR_VARIABLE}")
    return folder


def find_weights(name: str) -> Path | None:
    """The weights file that `load_model(name)` would read: `<weights_dir()>/<name>/<file_name>`, or where that was
    in earlier versions; None if there is none, or no folder for it."""
    spec = model_spec(name)
    if name == BUNDLED:
        path = Path(str(_packaged(spec.file_name)))
    else:
        try:
            path = weights_dir() / name / spec.file_name
        except CheckpointError:
            return None
        former = former_cache_dir()
        if not path.is_file() and former is not None and not os.environ.get(WEIGHTS_DIR_VARIABLE):
            path = former / name / spec.file_name
    return path if path.is_file() else None


def weights_file(name: str, weights: str | Path | None) -> Path:
    """The file that `load_model` would read for these, which says where it should be if there is none.

    Raises CheckpointError.
    """
    path = expand_home(weights) if weights is not None else find_weights(name)
    if path is None:
        spec = model_spec(name)
        raise CheckpointError(
            f"no weights for {name}: put {spec.file_name} of https://huggingface.co/{spec.hub_id} (licence:"
            f" {spec.weights_licence}) at {weights_dir() / name / spec.file_name}, let"
            f" `spark3r models get {name}` do it, or name a file with --weights"
        )
    return path


def load_model(
    name: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: str | Path | None = None,
) -> Backbone:
    """A model ready to run: evaluation mode, no gradients.

    Args:
        name: one of `MODELS`.
        dtype: of the trunk's linears (attention follows); None: float32. Heads and norms are float32 always.
        weights: a .safetensors or .pt file; "random" for benchmarks; None: the packaged file for "bundled", the file
            in `weights_dir()` for the others.

    Raises:
        CheckpointError: unknown name; weights missing, truncated, other than their recorded sha256, of another model
            or size (names the key).
    """
    spec = model_spec(name)
    dtype = torch.float32 if dtype is None else dtype
    if weights == "random":
        model = _on_meta(spec, spec.config)
        materialise(model, device, dtype)
        random_init(model)
    elif weights is None and name == BUNDLED:
        config, stored = _read_bundled(spec)
        model = _on_meta(spec, config)
        load_into(model, stored, "the bundled weights", device, dtype)
        model.weights_path = find_weights(name)
    else:
        path = weights_file(name, weights)
        sha256 = verify_record(path)
        stored = open_checkpoint(path)
        model = _on_meta(spec, spec.config)
        load_into(model, stored, str(path), device, dtype)
        model.weights_path = path
        if sha256 is not None:
            model.weights_sha256 = sha256  # just computed: gigabytes need not be read twice
    model.name = name
    return model.eval().requires_grad_(False)


def _on_meta(spec: ModelSpec, config: Any) -> Backbone:
    with torch.device("meta"):
        return spec.build(config)


def _packaged(file_name: str) -> Any:
    return resources.files("spark3r_core.weights") / file_name


def _read_bundled(spec: ModelSpec) -> tuple[DA3Config, Any]:
    """Config and tensors that the package holds; the json says what the network is and what its file hashes to."""
    try:
        about = json.loads(_packaged("bundled.json").read_text(encoding="utf-8"))
        blob = _packaged(spec.file_name).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"the bundled weights are missing from this installation ({Path(error.filename).name});"
            " install the package again"
        ) from error
    known = {field.name for field in dataclasses.fields(DA3Config)}
    unknown = sorted(about["config"].keys() - known)
    if unknown:
        raise CheckpointError(f"bundled.json has the unknown setting {unknown[0]}; install the package again")
    return DA3Config(**about["config"]), load_packaged(blob, about["sha256"], f"packaged file {spec.file_name}")
