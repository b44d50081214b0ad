"""Map files from a stranger: whatever is wrong is one line that says what, and nothing large is made before that."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.layout import DTYPES, MAGIC, MAX_BYTES, TENSORS
from spark3r_stream.map_file.reading import parsed_map, read_map
from spark3r_stream.map_file.saved_map import SavedMap
from spark3r_stream.map_file.writing import map_bytes
from tests.helpers_map import FACTS, orbit_map

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def good() -> bytes:
    return map_bytes(orbit_map((0, 8)), FACTS)


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The safetensors header, the map's header in it, and the tensors."""
    size = struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8 : 8 + size])
    return entries, json.loads(entries["__metadata__"][MAGIC]), data[8 + size :]


def joined(entries: dict[str, Any], header: Any, body: bytes) -> bytes:
    words = header if isinstance(header, str) else json.dumps(header)
    text = json.dumps({**entries, "__metadata__": {MAGIC: words}}, separators=(",", ":")).encode()
    metadata = f'{{"__metadata__":{{"{MAGIC}":'.encode()
    if not text.startswith(metadata):  # the part about the map comes first, as it is written
        rest = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        text = json.dumps({"__metadata__": {MAGIC: words}, **rest}, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + body


def with_header(change: Callable[[dict[str, Any]], None]) -> bytes:
    entries, header, body = parts(good())
    change(header)
    return joined(entries, header, body)


def with_entry(name: str, **changes: Any) -> bytes:
    entries, header, body = parts(good())
    entries[name] = {**entries[name], **changes}
    return joined(entries, header, body)


def with_values(name: str, change: Callable[[np.ndarray], None]) -> bytes:
    """The file with other numbers in a tensor."""
    entries, header, body = parts(good())
    first, last = entries[name]["data_offsets"]
    values = np.frombuffer(body[first:last], DTYPES[TENSORS[name].kind]).reshape(entries[name]["shape"]).copy()
    change(values)
    return joined(entries, header, body[:first] + values.tobytes() + body[last:])


def refusal(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parsed_map(data)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    return str(caught.value)


def put(*at: Any, value: Any) -> Callable[[Any], None]:
    def change(target: Any) -> None:
        for key in at[:-1]:
            target = target[key]
        target[at[-1]] = value

    return change


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no map file"),
        (b"\x89MCAP0\r\n" + bytes(100), "no map file"),
        (good()[:40], "no map file|cut short"),
        (good()[:500], "cut short"),
        (good()[:-1], "cut short|longer or shorter"),
        (good() + b"x", "longer or shorter"),
        (struct.pack("<Q", 2**63) + good()[8:], "cut short or damaged"),
        (with_header(put("version", value="1.1")), "version 1.1, this program reads 2.x"),
        (with_header(put("version", value=[1, 0])), "version is"),
        (with_header(put("counts", "features", value=10**12)), "the number of features is 1000000000000"),
        (with_header(put("counts", "features", value=-1)), "the number of features is -1"),
        (with_header(put("counts", "features", value=True)), "the number of features is True"),
        (with_header(put("counts", "keyframes", value=0)), "the number of keyframes is 0"),
        (with_header(put("counts", "features", value=100_000)), "expected F32 .100000"),
        (with_header(put("counts", value={})), "counts is"),
        (with_header(put("picture_hw", value=[100_000, 5])), "picture_hw is"),
        (with_header(put("picture_hw", value=[16000, 16000])), "picture_hw is"),
        (with_header(put("picture_hw", value=[10, 10])), "feature.place|192x144 pixels"),
        (with_header(put("focal", value=1e300)), "focal is"),
        (with_header(put("focal", value=float("nan"))), "NaN is no number"),
        (with_header(put("given_camera", value={"fx": 1, "fy": 1, "cx": "a", "cy": 1})), "given_camera is"),
        (with_header(put("source", "source_id", value="a" * 5000)), "source_id is"),
        (with_header(put("source", "captured_clock", value="moon")), "captured_clock is"),
        (with_header(put("source", value=None)), "source is"),
        (joined(*(lambda entries, _, body: (entries, "[" * 60_000, body))(*parts(good()))), "header"),
        (joined(*(lambda entries, _, body: (entries, "3", body))(*parts(good()))), "no object"),
        (with_entry("depth", dtype="F64"), "tensor depth is F64"),
        (with_entry("depth", shape=[2, 2]), "tensor depth is"),
        (with_entry("depth", shape="x"), "tensor depth is"),
        (with_entry("depth", data_offsets=[0, 2**62]), "outside of the file"),
        (with_entry("depth", data_offsets=[8, 0]), "outside of the file"),
        (with_entry("depth", data_offsets=[0, 10]), "overlap|gaps"),
        (with_values("keyframe.frame_id", put(1, value=0)), "ascending"),
        (with_values("keyframe.time_s", put(0, value=np.nan)), "keyframe.time_s"),
        (with_values("keyframe.world_from_camera", put(0, 0, 0, value=2.0)), "rigid"),
        (with_values("keyframe.world_from_camera", put(1, 0, 3, value=np.inf)), "rigid"),
        (with_values("keyframe.scale", put(0, value=0.0)), "keyframe.scale"),
        (with_values("keyframe.depth_intrinsics", put(0, 0, 1, value=5.0)), "keyframe.depth_intrinsics"),
        (with_values("keyframe.picture_from_depth", put(0, 0, 0, value=-1.0)), "keyframe.picture_from_depth"),
        (with_values("keyframe.depth_hw", put(0, value=(2**30, 4))), "keyframe.depth_hw"),
        (with_values("keyframe.depth_hw", put(0, value=(4, 4))), "their sum"),
        (with_values("keyframe.depth_unit", put(0, value=np.inf)), "keyframe.depth_unit"),
        (with_values("keyframe.features", put(0, value=-5)), "keyframe.features"),
        (with_values("keyframe.picture_bytes", put(0, value=5)), "their sum"),
        (with_values("keyframe.picture_bytes", put(0, value=-(2**31))), "lengths"),
        (with_values("depth", put(0, value=np.nan)), "tensor depth "),
        (with_values("confidence", put(0, value=1.5)), "confidence"),
        (with_values("feature.place", put(0, 0, value=1e9)), "feature.place"),
        (with_values("feature.size", put(0, value=-1.0)), "feature.size"),
        (with_values("feature.depth", put(0, value=-1.0)), "feature.depth"),
        (with_values("picture", put(slice(0, 50), value=7)), "no JPEG"),
        (with_values("sighting", put(0, 1, value=99)), "sighting"),
        (with_values("sighting", put(0, 2, value=2**30)), "features that are there"),
        (with_values("sighting", put(slice(0, 2), 1, value=0)), "each keyframe of one once"),
        (with_values("sighting", put(0, 0, value=1)), "tracks from 0 on"),
        (with_values("sighting", lambda rows: rows[2:4].__setitem__((..., 2), rows[0:2, 2])), "no feature in two"),
        (with_values("pair", put(0, value=(1, 1))), "two keyframes"),
        (with_values("pair", put(0, value=(1, 0))), "the earlier keyframe first"),
        (with_values("edge.ends", put(0, value=(0, 7))), "keyframes that are there"),
        (with_values("edge.second_from_first", put(0, 3, 3, value=0.5)), "rigid"),
        (with_values("edge.information", put(0, 0, 1, value=1e9)), "symmetric"),
        (with_values("edge.information", put(0, 0, 0, value=np.nan)), "symmetric"),
        (with_values("network_focal", put(0, value=-3.0)), "network_focal"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(data: bytes, said: str) -> None:
    import re

    assert re.search(said, refusal(data)), refusal(data)


def test_the_file_as_written_is_read_by_these_helpers() -> None:
    entries, header, body = parts(good())
    assert isinstance(parsed_map(joined(entries, header, body)), SavedMap)


def test_a_tensor_too_few_or_too_many() -> None:
    entries, header, body = parts(good())
    assert "tensor pair is missing" in refusal(joined({k: v for k, v in entries.items() if k != "pair"}, header, body))
    more = {**entries, "extra\x1b[31m": {"dtype": "U8", "shape": [1], "data_offsets": [len(body), len(body) + 1]}}
    assert "extra\\x1b" in refusal(joined(more, header, body + b"x"))
    newer = {**header, "version": "2.7", "colour": "blue"}
    assert parsed_map(joined(more, newer, body + b"x")).world.order == [0, 8], "a later minor version may have more"


def test_a_picture_of_another_size_is_refused() -> None:
    from PIL import Image

    entries, header, body = parts(good())
    first, _ = entries["picture"]["data_offsets"]
    size = int(np.frombuffer(body[slice(*entries["keyframe.picture_bytes"]["data_offsets"])], "<i4")[0])
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    small = buffer.getvalue().ljust(size, b"\0")
    assert "has 8x8 pixels; expected 192x144" in refusal(
        joined(entries, header, body[:first] + small + body[first + size :])
    )


def test_sizes_are_looked_at_before_anything_is_made_of_them() -> None:
    entries, header, body = parts(good())
    counts = header["counts"]
    counts["features"], counts["depth_values"] = 2_000_000, 100_000_000
    entries["feature.histogram"]["shape"] = [2_000_000, 128]
    data = joined(entries, header, body)
    tracemalloc.start()
    refusal(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20


@QUICK
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_flipped_bytes_are_refused_or_read(seed: int, count: int) -> None:
    """Half of them in the header, where they matter most."""
    data = bytearray(good())
    rng = np.random.default_rng(seed)
    size = struct.unpack("<Q", data[:8])[0]
    for _ in range(count):
        at = int(rng.integers(0, 8 + size if rng.random() < 0.5 else len(data)))
        data[at] = int(rng.integers(0, 256))
    readable(bytes(data))


@QUICK
@given(st.floats(0, 1))
def test_a_file_cut_anywhere_is_refused(share: float) -> None:
    data = good()
    refusal(data[: min(int(share * len(data)), len(data) - 1)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@QUICK
@given(st.sampled_from(sorted(TENSORS)), st.sampled_from(["dtype", "shape", "data_offsets"]), JSON)
def test_entries_of_any_shape_are_refused_or_read(name: str, field: str, value: Any) -> None:
    readable(with_entry(name, **{field: value}))


@QUICK
@given(
    st.sampled_from(
        ["version", "counts", "picture_hw", "focal", "focal_std", "settled_focal", "given_camera", "source"]
    ),
    JSON,
)
def test_headers_of_any_shape_are_refused_or_read(field: str, value: Any) -> None:
    readable(with_header(put(field, value=value)))


@QUICK
@given(st.sampled_from(sorted(TENSORS)), st.integers(0, 2**32))
def test_numbers_of_any_value_are_refused_or_read(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def change(values: np.ndarray) -> None:
        flat = values.reshape(-1)
        if flat.size:
            at = rng.integers(0, flat.size, 3)
            flat[at] = np.frombuffer(rng.bytes(3 * flat.itemsize), flat.dtype)

    with np.errstate(invalid="ignore"):
        readable(with_values(name, change))


def readable(data: bytes) -> None:
    """Either a map, or one line; nothing else is ever raised."""
    refused: Exception | None = None
    try:
        assert parsed_map(data).world.order
    except ValueError as error:
        refused = error
    assert refused is None or (type(refused) is ValueError and "\n" not in str(refused)), repr(refused)


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "folder|directory"),
        (Path("/dev/zero"), "folder or a device"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(MapFileError, match=said):
            read_map(path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MapFileError, match="folder or a device"):
        read_map(pipe)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    tracemalloc.start()
    with pytest.raises(MapFileError, match="at most"):
        read_map(large)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20, "it is not read"
