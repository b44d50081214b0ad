"""Checkpoint files: what loads, what is refused and which key the message names. Real files, real tensors."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from spark3r_core.errors import CheckpointError
from spark3r_core.models.checkpoint import load_into, load_packaged, materialise, open_checkpoint
from spark3r_core.models.da3 import DA3
from spark3r_core.models.da3_parts import DA3Config
from spark3r_core.models.random_init import random_init
from spark3r_core.models.vggt_omega import VGGTOmega, VGGTOmegaConfig

TINY = DA3Config(24, 6, 2, 2, (2, 3, 4, 5), 8, (8, 12, 16, 16), img_size=56, cam_enc_heads=2, cam_enc_depth=1)
QKV = "model.backbone.pretrained.blocks.0.attn.qkv.weight"


def tiny_state(config: DA3Config = TINY, seed: int = 0) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in random_init(DA3(config), seed).state_dict().items()}


def as_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the names that share a tensor, and with a key of a head that is dropped."""
    kept = {key: value for key, value in state.items() if key not in DA3.tied_keys}
    return kept | {"model.gs_head.norm.weight": torch.ones(3)}


def load(path: Path, dtype: torch.dtype = torch.float32, config: DA3Config = TINY) -> DA3:
    with torch.device("meta"):
        model = DA3(config)
    load_into(model, open_checkpoint(path), str(path), "cpu", dtype)
    return model


def write_wrapped(state: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": state, "step": 3}, path)


def write_legacy(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.safetensors", save_file), ("a.pt", torch.save), ("wrapped.pth", write_wrapped), ("legacy.pt", write_legacy)],
)
def test_every_kind_of_file_loads_as_released(
    tmp_path: Path, name: str, write: Callable[[dict[str, Tensor], Path], None]
) -> None:
    state = tiny_state()
    write(as_released(state), tmp_path / name)
    loaded = load(tmp_path / name).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_loaded_model_gives_the_numbers_of_the_saved_one(tmp_path: Path) -> None:
    saved = random_init(DA3(TINY), seed=3).eval()
    save_file(as_released(saved.state_dict()), tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors").eval()
    images = torch.rand(1, 2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, actual = (m.predict(m.decode(m.encode(images)), rays=True).raw for m in (saved, loaded))
    assert all(torch.allclose(actual[name], value, rtol=1e-5, atol=1e-6) for name, value in expected.items())


def test_half_precision_files_and_trunks(tmp_path: Path) -> None:
    state = as_released(tiny_state())
    save_file({key: value.half() for key, value in state.items()}, tmp_path / "half.safetensors")
    model = load(tmp_path / "half.safetensors", torch.bfloat16)
    dtypes = {key: value.dtype for key, value in model.state_dict().items()}
    assert dtypes[QKV] == dtypes["model.backbone.pretrained.patch_embed.proj.weight"] == torch.bfloat16
    assert {dtypes[key] for key in dtypes if ".norm" in key or "ls1" in key} == {torch.float32}
    assert {dtypes[key] for key in dtypes if key.startswith(("model.head.", "model.cam_dec."))} == {torch.float32}
    assert torch.equal(model.state_dict()[QKV], state[QKV].half().bfloat16())


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_wrong_keys_are_named(tmp_path: Path, name: str) -> None:
    write = save_file if name.endswith("safetensors") else torch.save
    state = as_released(tiny_state())
    cases = {
        "missing": ({key: value for key, value in state.items() if key != QKV}, rf"1 missing \(first: {QKV}\)"),
        "extra": (state | {"model.head.surprise": torch.ones(1)}, r"1 unknown \(first: model\.head\.surprise\)"),
        "shape": (state | {QKV: torch.ones(72, 23)}, rf"{QKV} has shape \[72, 23\], expected \[72, 24\]"),
    }
    for content, message in cases.values():
        write(content, tmp_path / name)
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path / name)


def test_shared_norm_must_be_there_under_its_first_name(tmp_path: Path) -> None:
    state = as_released(tiny_state())
    del state["model.head.scratch.output_conv2_aux.0.2.weight"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"4 missing \(first: .*output_conv2_aux\.0\.2\.weight"):
        load(tmp_path / "a.safetensors")


def test_weights_of_another_model_or_size_are_told_apart(tmp_path: Path) -> None:
    config = VGGTOmegaConfig(
        embed_dim=24, depth=4, num_heads=2, encoder_depth=1, encoder_heads=2, camera_heads=2, camera_trunk_depth=1,
        register_attention_block_indices=(1,), dense_taps=(0, 1, 2, 3),
        dense_features=8, dense_out_channels=(8, 12, 16, 16),
    )  # fmt: skip
    save_file(random_init(VGGTOmega(config)).state_dict(), tmp_path / "omega.safetensors")
    with pytest.raises(CheckpointError, match=r"another model.*look like VGGT-Omega"):
        load(tmp_path / "omega.safetensors")
    save_file({"layer.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no model known"):
        load(tmp_path / "other.safetensors")
    save_file(as_released(tiny_state(replace(TINY, embed_dim=32))), tmp_path / "wide.safetensors")
    with pytest.raises(CheckpointError, match="another size of this model"):
        load(tmp_path / "wide.safetensors")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_truncated_and_foreign_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(CheckpointError, match="no weights file at"):
        load(path)
    (save_file if name.endswith("safetensors") else torch.save)(as_released(tiny_state()), path)
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=rf"{name} \({size} bytes\).*truncated"):
            load(path)
    path.write_text("this is a text file, not a checkpoint " * 20)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load(path)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": io.BytesIO}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="cannot read weights"):
        open_checkpoint(tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no state dict"):
        open_checkpoint(tmp_path / "list.pt")


def test_packaged_bytes_must_have_their_checksum(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "a.safetensors")
    blob = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="install the package again"):
        load_packaged(blob, "0" * 64, "packaged file")


def test_materialised_model_keeps_constants_and_has_the_asked_dtypes() -> None:
    with torch.device("meta"):
        model = DA3(TINY)
    materialise(model, "cpu", torch.bfloat16)
    assert torch.equal(model.normalise.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert model.state_dict()[QKV].dtype == torch.bfloat16
    assert model.model.cam_dec.fc_t.weight.dtype == torch.float32


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's process status")
@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 0.2), (torch.bfloat16, 1.2)])
def test_loading_takes_no_more_anonymous_memory_than_the_weights(
    tmp_path: Path, dtype: torch.dtype, share: float
) -> None:
    config = replace(TINY, embed_dim=512, num_heads=8, depth=8, with_rays=False, with_cam_enc=False)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in DA3(config).state_dict().items()}
    save_file({key: torch.ones(shape) for key, shape in shapes.items()}, tmp_path / "a.safetensors")
    before = anonymous_bytes()
    model = load(tmp_path / "a.safetensors", dtype, config)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    assert size > 50e6
    assert anonymous_bytes() - before < share * size


def anonymous_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024
