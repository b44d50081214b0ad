"""The hand-written field against protobuf's own encoder and parser."""

import numpy as np
import pytest
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.message import DecodeError

from spark3r_stream.errors import WireError
from spark3r_stream.wire import bulk_field


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_100_000])
def test_the_same_bytes_as_protobuf_both_ways(size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    before, after = RawImage(width=3, height=5, encoding="32FC1", step=12), RawImage(frame_id="camera")
    whole = RawImage(width=3, height=5, encoding="32FC1", step=12, data=data.tobytes(), frame_id="camera")
    payload = bulk_field.join(before.SerializeToString(), data, after.SerializeToString())
    assert payload == whole.SerializeToString()
    rest, found = bulk_field.split(payload)
    assert bytes(found) == data.tobytes()
    assert RawImage.FromString(rest) == RawImage(width=3, height=5, encoding="32FC1", step=12, frame_id="camera")


def test_the_data_is_a_read_only_view():
    payload = bulk_field.join(b"", np.arange(8, dtype=np.uint8))
    _, data = bulk_field.split(payload)
    assert data.obj is payload
    assert data.readonly


def test_of_several_data_fields_the_last_one_counts_as_in_protobuf():
    payload = RawImage(data=b"first").SerializeToString() + RawImage(data=b"second", width=2).SerializeToString()
    rest, data = bulk_field.split(payload)
    assert bytes(data) == b"second" == RawImage.FromString(payload).data
    assert RawImage.FromString(rest).width == 2


def test_damaged_messages_are_read_as_protobuf_reads_them_or_refused():
    """Whatever protobuf makes of damaged bytes, the split and the rest give the same, or an error."""
    rng = np.random.default_rng(1)
    whole = PointCloud(frame_id="submap_0", point_stride=20, data=bytes(range(200)))
    whole.pose.orientation.w = 1.0
    whole.timestamp.seconds = 12
    good = whole.SerializeToString()
    agreed = refused = 0
    for _ in range(4000):
        damaged = bytearray(good)
        for _ in range(int(rng.integers(0, 4))):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        payload = bytes(damaged[: len(damaged) - int(rng.integers(4) == 0) * int(rng.integers(40))])
        try:
            rest, data = bulk_field.split(payload)
            ours = PointCloud.FromString(rest)
        except (WireError, DecodeError):
            refused += 1
            continue
        theirs = PointCloud.FromString(payload)  # does not raise where ours did not
        assert theirs.data == bytes(data)
        theirs.ClearField("data")
        assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)
        agreed += 1
    assert agreed > 100
    assert refused > 100


@pytest.mark.parametrize(
    "payload",
    [
        b"\x32",
        b"\x32\x05abc",
        b"\x80" * 11,
        b"\x33",
        b"\x0f",
        b"\x09\x00",
        b"\xff" * 9,
        b"\x32\x00" * 2000,
        b"\x08\x01" * 2000,
    ],
    ids=[
        "no length",
        "cut off",
        "endless number",
        "group",
        "no wire type",
        "cut fixed64",
        "cut number",
        "2,000 data fields",
        "2,000 numbers",
    ],
)
def test_what_is_no_message_is_refused(payload):
    with pytest.raises(WireError):
        bulk_field.split(payload)
