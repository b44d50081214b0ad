"""Weights from a file into a model that was built on `meta`: strict, memory-mapped, straight to dtype and device.

Tensors are read one at a time, so that the peak of host memory is the weights at their target dtype; a float32 file
used in float32 on the CPU stays a mapping of the file.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load as load_safetensors_bytes
from torch import Tensor, nn

from spark3r_core.errors import CheckpointError
from spark3r_core.models.interface import Backbone
from spark3r_core.models.layers import trunk_linears

# Keys that only one family's files have, for the message about a wrong file; the first match counts.
FAMILY_MARKS = (
    ("Depth-Anything-3", r"model\.backbone\.pretrained\."),
    ("VGGT-Omega", r"aggregator\.inter_frame_blocks\."),
    ("VGGT", r"aggregator\.global_blocks\."),
    ("Pi3X", r"metric_(token|decoder)"),
    ("pi3", r"decoder\.0\.attn\."),
)


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: its shape is known before its values are read."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def open_checkpoint(path: Path) -> dict[str, StoredTensor]:
    """Names and tensors of a .safetensors file or of a `torch.save`d state dict (read with weights_only=True).

    Raises CheckpointError when the file is missing, truncated or no checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            file = safe_open(path, framework="pt", device="cpu")
            return {
                key: StoredTensor(tuple(file.get_slice(key).get_shape()), partial(file.get_tensor, key))
                for key in file.keys()  # noqa: SIM118 - not a dict
            }
        # Files older than torch 1.6 are no zip archives and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the unpickler raises whatever the bytes of a foreign file lead it to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"cannot read weights {path} ({path.stat().st_size} bytes): {reason};"
            " the file is truncated or no checkpoint, download it again"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds no state dict (names to tensors); expected the released weights file")
    return tensors_in_memory(content)


def tensors_in_memory(state: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
    return {name: StoredTensor(tuple(tensor.shape), partial(_itself, tensor)) for name, tensor in state.items()}


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def load_packaged(blob: bytes, sha256: str, what: str) -> dict[str, StoredTensor]:
    """Tensors of safetensors bytes whose sha256 must be as written beside them."""
    found = hashlib.sha256(blob).hexdigest()
    if found != sha256:
        raise CheckpointError(f"{what} has sha256 {found[:12]}…, expected {sha256[:12]}…; install the package again")
    return tensors_in_memory(load_safetensors_bytes(blob))


def dropped(model: Backbone, key: str) -> str | None:
    """Why this key of a released file is left unread, or None: the drop table is `model.dropped_keys`."""
    return next((why for pattern, why in model.dropped_keys if re.match(pattern, key)), None)


def load_into(
    model: Backbone,
    stored: Mapping[str, StoredTensor],
    what: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Fill a model built on `meta` with a file's tensors.

    Linears of the trunk get `dtype`, everything else float32. Every key of the model must be there with its shape and
    every key of the file must be the model's, but for `model.dropped_keys` and `model.tied_keys`.

    Raises CheckpointError naming the first offending key.
    """
    expected = model.state_dict()
    present = {key for key in stored if dropped(model, key) is None}
    tied = {alias: key for alias, key in model.tied_keys.items() if alias in expected and key in present}
    check_keys(set(expected), present | set(tied), what)
    for key in sorted(present & expected.keys()):
        if stored[key].shape != tuple(expected[key].shape):
            raise CheckpointError(
                f"{what}: {key} has shape {list(stored[key].shape)}, expected {list(expected[key].shape)};"
                " these are weights of another size of this model"
            )
    compute = {f"{name}.{kind}" for name in trunk_linears(model) for kind in ("weight", "bias")}
    loaded: dict[str, Tensor] = {}
    for key in expected:
        source = tied.get(key, key)
        if source not in loaded:
            loaded[source] = stored[source].read().to(device, dtype if source in compute else torch.float32)
        loaded[key] = loaded[source]
    model.load_state_dict(loaded, strict=True, assign=True)
    finish(model, device)


def check_keys(expected: set[str], present: set[str], what: str) -> None:
    """Raise CheckpointError unless both sets are equal."""
    missing, extra = sorted(expected - present), sorted(present - expected)
    if not missing and not extra:
        return
    if len(missing) > len(expected) // 2:
        looks = next((name for name, mark in FAMILY_MARKS if any(re.match(mark, key) for key in present)), None)
        guess = f"they look like {looks}" if looks else "they are of no model known here"
        raise CheckpointError(
            f"{what} holds weights of another model ({guess}): {len(missing)} of {len(expected)} keys are missing,"
            f" the first is {missing[0]}; choose the model that the file belongs to"
        )
    found = [
        f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in (("missing", missing), ("unknown", extra)) if keys
    ]
    raise CheckpointError(f"{what} does not fit the model: keys {' and '.join(found)}")


def materialise(model: Backbone, device: torch.device | str, dtype: torch.dtype) -> None:
    """Give every parameter of a model on `meta` memory without values: trunk linears in `dtype`, the rest float32."""
    compute = {f"{name}.{kind}" for name in trunk_linears(model) for kind in ("weight", "bias")}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                target = dtype if f"{prefix}.{name}" in compute else torch.float32
                module.register_parameter(name, nn.Parameter(torch.empty(parameter.shape, dtype=target, device=device)))
    finish(model, device)


def finish(model: Backbone, device: torch.device | str) -> None:
    """Move what no file holds (constants) to the device and make sure that nothing was left on `meta`."""
    model.to(device)
    left = [name for name, t in (*model.named_parameters(), *model.named_buffers()) if t.is_meta]
    if left:
        raise CheckpointError(f"{type(model).__name__}: {left[0]} got no values; this is a fault of the program")
