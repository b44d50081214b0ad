"""A safetensors file into arrays, or a refusal: sizes are looked at before anything is made of them.

The format: eight bytes, the length of the header; the header, JSON; the tensors, end to end. Only what `layout` names
is taken, in the types and shapes that it names. Arrays are views of the file's bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_stream.map_file.header import Header, checked_header
from spark3r_stream.map_file.layout import DTYPES, MAGIC, MAX_BYTES, MAX_HEADER_BYTES, TENSORS, Tensor
from spark3r_stream.map_file.packing import Arrays
from spark3r_stream.map_file.target import HEAD_BYTES, is_map
from spark3r_stream.plain_text import cleaned
from spark3r_stream.rules import integer, read_json

_MOST_TENSORS = 256


def read_tensors(data: bytes) -> tuple[Header, Arrays]:
    """Raises ValueError in one line for anything but a whole map file."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data)} bytes; a map has at most {MAX_BYTES}")
    if not is_map(data[:HEAD_BYTES]):
        raise ValueError("it is no map file of spark3r")
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= MAX_HEADER_BYTES or 8 + length > len(data):
        raise ValueError(f"its header would have {length} bytes; it is cut short or damaged")
    try:
        entries = read_json(data[8 : 8 + length].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {cleaned(error)}") from None
    if not isinstance(entries, dict) or len(entries) > _MOST_TENSORS:
        raise ValueError("its header is damaged: expected an object with few entries")
    metadata = entries.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(MAGIC), str):
        raise ValueError("its header is damaged: the part about the map is missing")
    header = checked_header(metadata[MAGIC])
    _check_names(entries, header)
    body = memoryview(data)[8 + length :]
    spans = {name: _span(name, entry, len(body)) for name, entry in entries.items()}
    _check_tiling(list(spans.values()), len(body))
    return header, {
        name: _array(name, tensor, entries[name], spans[name], header.counts, body) for name, tensor in TENSORS.items()
    }


def _check_names(entries: Mapping[str, Any], header: Header) -> None:
    missing = [name for name in TENSORS if name not in entries]
    unknown = [name for name in entries if name not in TENSORS]
    if missing:
        raise ValueError(f"the tensor {missing[0]} is missing")
    if unknown and not header.is_newer:
        raise ValueError(f"it has a tensor '{cleaned(unknown[0], 64)}', which this version of a map does not")


def _span(name: str, entry: Any, size: int) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    rule = integer(0, size)
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(map(rule.holds, offsets))
        or offsets[0] > offsets[1]
    ):
        raise ValueError(f"tensor {cleaned(name, 64)} lies outside of the file; it is cut short or damaged")
    return offsets[0], offsets[1]


def _check_tiling(spans: list[tuple[int, int]], size: int) -> None:
    """No two share a byte and no byte is nobody's: there is nothing hidden, and nothing is read twice."""
    at = 0
    for first, last in sorted(spans):
        if first != at:
            raise ValueError("its tensors overlap or leave gaps; it is damaged")
        at = last
    if at != size:
        raise ValueError("it is longer or shorter than its header says; it is damaged")


def _array(
    name: str, tensor: Tensor, entry: Any, span: tuple[int, int], counts: Mapping[str, int], body: memoryview
) -> NDArray[Any]:
    sizes = tensor.sizes(counts)
    if entry.get("dtype") != tensor.kind or entry.get("shape") != sizes:
        found = cleaned(f"{entry.get('dtype')} {entry.get('shape')}", 64)
        raise ValueError(f"tensor {name} is {found}; expected {tensor.kind} {sizes}")
    if span[1] - span[0] != tensor.nbytes(counts):
        raise ValueError(f"tensor {name} has {span[1] - span[0]} bytes; expected {tensor.nbytes(counts)}")
    return np.frombuffer(body[span[0] : span[1]], DTYPES[tensor.kind]).reshape(sizes)
