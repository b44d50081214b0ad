"""What a recording claims is held against bounds before anything of that size is allocated."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from mcap.records import Chunk
from PIL import Image

from spark3r_stream.errors import SourceError, WireError
from spark3r_stream.packets import InputPacket, StreamFormat
from spark3r_stream.proto import recording_pb2
from spark3r_stream.recording import mcap_file
from spark3r_stream.recording.mcap_file import unpacked
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.records import decode_decisions
from spark3r_stream.recording.schema import MAX_PIXELS
from spark3r_stream.recording.target import MAGIC
from spark3r_stream.sources.images import decode_image
from spark3r_stream.sources.packet_decoder import PacketDecoder

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "": lambda data: data,
}


def chunk(compression: str, data: bytes, claimed: int) -> Chunk:
    return Chunk(compression, data, 0, 0, 0, claimed)


def mcap(*records: tuple[int, bytes]) -> bytes:
    return MAGIC + b"".join(struct.pack("<BQ", opcode, len(data)) + data for opcode, data in records)


def chunk_record(records: bytes, compression: str = "zstd") -> tuple[int, bytes]:
    packed = COMPRESS[compression](records)
    name = compression.encode()
    head = struct.pack("<QQQII", 0, 0, len(records), 0, len(name)) + name + struct.pack("<Q", len(packed))
    return 6, head + packed


def test_a_zstd_frame_that_claims_a_terabyte_is_refused() -> None:
    packer = zstandard.ZstdCompressor().compressobj(size=1 << 40)
    data = packer.compress(b"a") + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    assert zstandard.get_frame_parameters(data).content_size == 1 << 40
    with pytest.raises(ValueError, match="zstd frame claims 1099511627776"):
        unpacked(chunk("zstd", data, 1), mcap_file._Budget(len(data)))


def test_an_lz4_frame_is_unpacked_no_further_than_it_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = lz4.frame.LZ4FrameDecompressor

    class Watched:
        def decompress(self, data: bytes, max_length: int) -> bytes:
            asked.append(max_length)
            return real().decompress(data, max_length=max_length)

    monkeypatch.setattr(mcap_file.lz4.frame, "LZ4FrameDecompressor", Watched)
    with pytest.raises(ValueError, match="it claims 10"):
        unpacked(chunk("lz4", lz4.frame.compress(bytes(1 << 20)), 10), mcap_file._Budget(1 << 20))
    assert asked == [11]


@pytest.mark.parametrize("compression", ["zstd", "lz4", ""])
def test_what_a_chunk_may_hold_depends_on_its_file(compression: str) -> None:
    data = COMPRESS[compression](b"abc" * 100)
    budget = mcap_file._Budget(file_bytes=10)
    assert unpacked(chunk(compression, data, 300), budget) == b"abc" * 100
    for claimed in (mcap_file.FREE_BYTES + 1010 - 299, 1 << 40):
        with pytest.raises(ValueError, match="are allowed here"):
            unpacked(chunk(compression, data, claimed), budget)


def test_millions_of_empty_messages_in_a_few_bytes_end_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcap_file, "FREE_RECORDS", 1000)
    channel = struct.pack("<HHI", 1, 0, 7) + b"/frame/" + struct.pack("<II", 0, 0)
    message = struct.pack("<BQHIQQ", 5, 22, 1, 0, 0, 0)
    path = tmp_path / "many.mcap"
    path.write_bytes(mcap((1, bytes(8)), (4, channel), chunk_record(message * 100_000)))
    info = Recording(path).info()
    assert "more messages than a file of this size can hold" in info.cut
    assert info.counts["/frame/"] < 2000


def test_a_record_is_not_read_before_its_length_is_known_to_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "long.mcap"
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<BQ", 12, mcap_file.MIB + 1))
        file.truncate(mcap_file.MIB + 100)
    assert "at most 1048576 are allowed" in Recording(path).info().cut


def test_a_declaration_in_a_chunk_is_no_longer_than_one_outside(tmp_path: Path) -> None:
    """A chunk may hold far more than a channel needs, and its compression makes that cheap."""
    filled = struct.pack("<I", 65 * mcap_file.KIB) + bytes(65 * mcap_file.KIB)
    channel = struct.pack("<HHI", 1, 0, 7) + b"/frame/" + filled + struct.pack("<I", 0)
    path = tmp_path / "channel.mcap"
    path.write_bytes(mcap((1, bytes(8)), chunk_record(struct.pack("<BQ", 4, len(channel)) + channel)))
    assert f"channel of {len(channel)} bytes" in Recording(path).info().cut


def test_a_million_empty_frames_are_not_decoded() -> None:
    payload = b"\x12\x00" * 1_000_000
    recording_pb2.Decisions.FromString(payload[:200])
    with pytest.raises(WireError, match="decisions of 2000000 bytes"):
        decode_decisions(payload)
    for many, what in ((b"\x12\x00", "frames"), (b"\x32\x00", "kinds of losses")):
        with pytest.raises(WireError, match=rf"100000 {what}; at most"):
            decode_decisions(many * 100_000)


def png(width: int, height: int) -> bytes:
    """One of so many pixels, black: little to store and to make."""
    file = BytesIO()
    Image.new("1", (width, height)).save(file, format="PNG")
    return file.getvalue()


def test_an_image_of_too_many_pixels_is_not_unpacked() -> None:
    data = png(8000, 8000)
    assert len(data) < 20_000
    with pytest.raises(SourceError, match="8000x8000 pixels; at most"):
        decode_image(data, "image 0", MAX_PIXELS)
    assert decode_image(png(80, 60), "image 0", MAX_PIXELS).shape == (60, 80, 3)


def test_only_formats_of_frames_are_read() -> None:
    """EPS would run Ghostscript on it."""
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, format="EPS")
    with pytest.raises(SourceError, match="not a readable image"):
        decode_image(file.getvalue(), "image 0")


@pytest.mark.parametrize(("side", "count"), [(64, 1), (8000, 0)])
def test_a_packet_of_too_many_pixels_gives_no_picture(side: int, count: int) -> None:
    form = StreamFormat(side, side, "monob", 0, 2, False)
    packet = InputPacket(png(side, side), 0, 0, Fraction(1, 30), True, "png", b"", None, 0, form)
    decoder = PacketDecoder(packet)
    assert len([*decoder.decode(packet), *decoder.decode(None)]) == count


def test_a_codec_of_sound_is_one_clear_error() -> None:
    form = StreamFormat(64, 64, "", 0, 2, False)
    packet = InputPacket(b"x", 0, 0, Fraction(1, 30), True, "aac", b"", None, 0, form)
    with pytest.raises(SourceError, match=r"cannot decode 'aac'.*codec of audio"):
        PacketDecoder(packet)
