"""The table of models against the manifests of the released files, and load_model's ways to get weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spark3r_core.errors import CheckpointError
from spark3r_core.memory.kv_memory import page_dtype
from spark3r_core.models import registry
from spark3r_core.models.checkpoint import dropped
from spark3r_core.models.digest import write_record
from spark3r_core.models.interface import Backbone
from spark3r_core.models.preprocess import StreamResize
from spark3r_core.models.random_init import random_init
from spark3r_core.models.registry import BUNDLED, MODELS, find_weights, load_model
from tests.core.models.reference_fixture import DATA, manifest_state, meta_state

RELEASED = [name for name in MODELS if name != BUNDLED]
MANIFEST_OF = {name: name.replace("-", "_") for name in RELEASED}


def on_meta(name: str) -> Backbone:
    with torch.device("meta"):
        return MODELS[name].build()


@pytest.mark.parametrize("name", RELEASED)
def test_full_size_model_is_the_released_file_less_the_drop_table(name: str) -> None:
    model, released = on_meta(name), manifest_state(MANIFEST_OF[name])
    kept = {key: value for key, value in released.items() if dropped(model, key) is None}
    assert meta_state(model) == kept
    unused = [pattern for pattern, _ in model.dropped_keys if not any(dropped(model, key) for key in released)]
    assert unused == [] or name in ("da3-small", "da3-base", "da3-large")  # only giant has a Gaussian head


def test_text_variant_of_omega_differs_by_dropped_keys_only() -> None:
    model, released = on_meta("vggt-omega-1b"), manifest_state("vggt_omega_1b_text")
    assert meta_state(model) == {key: value for key, value in released.items() if dropped(model, key) is None}


@pytest.mark.parametrize("name", list(MODELS))
def test_numbers_of_the_table(name: str) -> None:
    spec, model = MODELS[name], on_meta(name)
    width, height = spec.native_size
    layers = model.cross_layers((height, width))
    assert spec.tokens_per_frame == max(layer.tokens_per_frame for layer in layers)
    assert spec.kv_bytes_per_frame == sum(layer.page_bytes(page_dtype(layer, torch.bfloat16)) for layer in layers)
    if name == BUNDLED:
        assert spec.parameters == sum(p.numel() for p in model.parameters())
    else:
        assert spec.parameters == json.loads((DATA / f"{MANIFEST_OF[name]}.json").read_text())["num_parameters"]


# Of 4:3 and of 16:9 pictures, by each reference's own rule.
INPUT_HW = {
    "da3": ((378, 504), (280, 504)),
    "vggt": ((392, 518), (294, 518)),
    "pi3": ((434, 574), (378, 672)),
    "pi3x": ((434, 574), (378, 672)),
    "vggt_omega": ((448, 592), (384, 688)),
}


@pytest.mark.parametrize("name", RELEASED)
@pytest.mark.parametrize("frame_hw", [(480, 640), (1080, 1920), (600, 800)])
def test_a_stream_has_the_input_size_of_the_reference(name: str, frame_hw: tuple[int, int]) -> None:
    model = on_meta(name)
    native, patch = model.capabilities, model.patch_size
    if native.native_patches is None:
        resize = StreamResize.fit(frame_hw, native.native_long_side, patch)
    else:
        resize = StreamResize.fit_patches(frame_hw, native.native_patches, patch)
    assert resize.image_hw == INPUT_HW[model.family][frame_hw[1] / frame_hw[0] > 1.5]
    if frame_hw == (480, 640):
        assert resize.image_hw == MODELS[name].native_size[::-1]


def test_random_weights_run_and_are_reproducible() -> None:
    model, again = (load_model("da3-small", weights="random") for _ in range(2))
    assert model.name == "da3-small"
    assert not model.training
    assert model.weights_sha256 is None
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with torch.inference_mode():
        prediction = model.predict(model.decode(model.encode(torch.rand(1, 2, 3, 42, 56)), None))
    for value in (prediction.depth, prediction.world_from_camera, prediction.intrinsics, prediction.confidence):
        assert bool(value.isfinite().all())


def test_a_file_written_from_the_manifest_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((DATA / "da3_small.json").read_text())
    absent = manifest["keys_absent_from_released_safetensors"]
    state = {k: torch.zeros(shape) for k, (shape, _) in manifest["state_dict"].items() if k not in absent}
    monkeypatch.setenv(registry.WEIGHTS_DIR_VARIABLE, str(tmp_path))
    with pytest.raises(CheckpointError, match=r"DA3-SMALL.*Apache-2\.0.*--weights"):
        load_model("da3-small")
    assert find_weights("da3-small") is None
    path = tmp_path / "da3-small" / "model.safetensors"
    path.parent.mkdir()
    save_file(state, path)
    assert find_weights("da3-small") == path
    model = load_model("da3-small", dtype=torch.bfloat16)
    assert model.attention_dtype == torch.bfloat16
    assert model.weights_path == path
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.weights_sha256 == sha256
    write_record(path, sha256)
    assert load_model("da3-small").weights_sha256 == sha256
    with pytest.raises(CheckpointError, match="another size"):
        load_model("da3-base", weights=path)


def test_unknown_model_is_named_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="'da4'; there are bundled, da3-small"):
        load_model("da4")


def test_bundled_reads_its_config_and_checks_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_packaged", lambda file_name: tmp_path / file_name)
    with pytest.raises(CheckpointError, match=r"missing.*bundled\.json"):
        load_model(BUNDLED)
    model = random_init(MODELS[BUNDLED].build())
    save_file({k: v.half() for k, v in model.state_dict().items()}, tmp_path / "bundled.safetensors")
    digest = hashlib.sha256((tmp_path / "bundled.safetensors").read_bytes()).hexdigest()
    config = {**vars(MODELS[BUNDLED].config)}
    (tmp_path / "bundled.json").write_text(json.dumps({"sha256": digest, "config": config}))
    loaded = load_model(BUNDLED)
    assert loaded.weights_sha256 == digest
    assert all(torch.equal(v, model.state_dict()[k].half().float()) for k, v in loaded.state_dict().items())
    (tmp_path / "bundled.json").write_text(json.dumps({"sha256": "0" * 64, "config": config}))
    with pytest.raises(CheckpointError, match="sha256"):
        load_model(BUNDLED)
