"""Packets as foxglove.CompressedVideo wants them, whatever the container left out of them; and whatever a file says."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest

from spark3r_stream.export.video_units import FORMATS, units_of
from spark3r_stream.packets import InputPacket
from tests.helpers_media import moving_images, write_video

START = b"\x00\x00\x00\x01"


def packets_of(path: Path) -> list[InputPacket]:
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        name, header = stream.codec_context.name, stream.codec_context.extradata or b""
        return [
            InputPacket(bytes(p), p.pts, p.dts, Fraction(p.time_base), p.is_keyframe, name, header, None, 0)
            for p in container.demux(stream)
            if p.size
        ]


def nals(data: bytes) -> list[bytes]:
    return [part.rstrip(b"\x00") for part in data.split(START[1:])[1:]]


def count_decoded(data: list[bytes], codec: str) -> int:
    decoder: Any = av.CodecContext.create(codec, "r")
    count = 0
    for one in [*data, None]:
        with contextlib.suppress(av.error.FFmpegError):
            count += len(decoder.decode(None if one is None else av.Packet(one)))
    return count


@pytest.mark.parametrize("head", [b"", START + b"\x09\xf0"], ids=["bare", "behind-a-delimiter"])
def test_parameter_sets_that_were_told_once_are_before_every_key_frame(tmp_path: Path, head: bytes) -> None:
    """As with a camera that sends them in its session description only."""
    found = packets_of(write_video(tmp_path / "clip.ts", moving_images(6, 128, 96), coder={"bf": "0"}, gop=3))
    header = b"".join(START + nal for nal in nals(found[0].data) if nal[0] & 31 in (7, 8))
    pictures = [b"".join(START + nal for nal in nals(packet.data) if nal[0] & 31 not in (7, 8, 9)) for packet in found]
    bare = [replace(found[0], extradata=header, data=head + picture) for picture in pictures]
    assert count_decoded([packet.data for packet in bare], "h264") == 0
    unit = units_of(bare[0])
    units = [unit(packet) for packet in bare]
    assert [made.is_start for made in units] == [True, False, False, True, False, False]
    for made in units[::3]:
        types = [nal[0] & 31 for nal in made.data.split(START)[1:]]
        assert types[: 3 if head else 2] == ([9, 7, 8] if head else [7, 8])
    assert count_decoded([made.data for made in units], "h264") == 6
    unit = units_of(replace(bare[0], extradata=b""))
    assert not any(unit(packet).is_start for packet in bare), "nobody said what is needed to begin"


def test_a_sequence_header_that_only_the_container_has(tmp_path: Path) -> None:
    """Matroska leaves it out of key frames."""
    found = packets_of(write_video(tmp_path / "clip.mp4", moving_images(6, 128, 96), codec="libsvtav1", gop=3))
    header = found[0].data[: 2 + found[0].data[1]]  # the first unit: type, length, content
    bare = [
        replace(packet, data=packet.data.removeprefix(header), extradata=packet.extradata[:4] + header)
        for packet in found
    ]
    assert count_decoded([packet.data for packet in bare], "libdav1d") == 0
    unit = units_of(bare[0])
    assert [unit(packet).data for packet in bare] == [packet.data for packet in found]


@pytest.mark.parametrize("codec", sorted(FORMATS))
def test_no_bytes_are_too_odd(codec: str) -> None:
    random = np.random.default_rng(5)
    for size in [*range(40), 300] * 8:
        # many small numbers: lengths, counts and start codes
        data = random.choice([0, 0, 0, 1, 1, 2, 5, 7, 0x67, 0xFF], size).astype(np.uint8).tobytes()
        packet = InputPacket(data, 0, 0, Fraction(1, 30), True, codec, b"\x01" + data[::-1], None, 0)
        for header in (packet.extradata, data, b""):
            made = units_of(replace(packet, extradata=header))(packet)
            assert len(made.data) <= 6 * len(data) + 10_000
