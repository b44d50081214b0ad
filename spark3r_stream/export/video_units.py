"""Packets of a recorded stream as foxglove.CompressedVideo wants them: one picture each, and key frames with all that a
decoder needs to begin there.

H.264 and H.265 become Annex B with parameter sets; FFmpeg's filters for that take the sets from a container, which a
recording is not, so it is done here. Bytes may come from a stranger: what is too short is read as empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from spark3r_stream.packets import InputPacket

# foxglove.CompressedVideo's word by FFmpeg's name of the decoder.
FORMATS = {"h264": "h264", "hevc": "h265", "vp9": "vp9", "libvpx-vp9": "vp9", "av1": "av1", "libdav1d": "av1"}
_START_CODE = b"\x00\x00\x01"
_AV1_SEQUENCE_HEADER = 1
_AV1_CONFIG_BYTES = 4  # of av1C, before the sequence header


class Unit(NamedTuple):
    """One message's data. is_start: a player can begin with it."""

    data: bytes
    is_start: bool


def units_of(first: InputPacket) -> Callable[[InputPacket], Unit]:
    """What makes units of the packets of one stream, to be called with each in order. Raises KeyError for a codec that
    is not among `FORMATS`."""
    kind = FORMATS[first.codec]
    if kind in _SYNTAXES:
        return _AnnexB(_SYNTAXES[kind], first.extradata).unit
    if kind == "av1":
        return _av1_unit
    return lambda packet: Unit(packet.data, packet.is_keyframe)


@dataclass(frozen=True)
class _Syntax:
    """Types of NAL units. sets: the parameter sets in the order in which they refer to each other."""

    type_of: Callable[[int], int]
    delimiter: int
    sets: tuple[int, ...]
    starts: range


_SYNTAXES = {
    "h264": _Syntax(lambda head: head & 31, 9, (7, 8), range(5, 6)),
    "h265": _Syntax(lambda head: head >> 1 & 63, 35, (32, 33, 34), range(16, 24)),
}


class _AnnexB:
    """Keeps the newest parameter sets, and repeats them where a key frame comes without."""

    def __init__(self, syntax: _Syntax, extradata: bytes) -> None:
        self._syntax = syntax
        self._sets: dict[int, list[bytes]] = {}
        self._length_bytes = 0  # before each NAL unit; 0: Annex B already
        if extradata[:1] == b"\x01":  # the container's own form of it, not Annex B, which begins with zeros
            read = _read_avcc if syntax is _SYNTAXES["h264"] else _read_hvcc
            self._length_bytes, sets = read(extradata)
        else:
            sets = _split(extradata)
        self._keep(sets)

    def unit(self, packet: InputPacket) -> Unit:
        if self._length_bytes:
            nals = _counted(packet.data, self._length_bytes)
        else:
            nals = _split(packet.data)
        types = [self._syntax.type_of(nal[0]) for nal in nals]
        self._keep(nals)
        wanted = self._syntax.sets
        is_start = any(kind in self._syntax.starts for kind in types) and all(kind in self._sets for kind in wanted)
        if is_start:
            missing = [nal for kind in wanted if kind not in types for nal in self._sets[kind]]
            behind = int(types[0] == self._syntax.delimiter)  # which is first in its picture
            nals[behind:behind] = missing
        return Unit(b"".join(b"\x00" + _START_CODE + nal for nal in nals), is_start)

    def _keep(self, nals: list[bytes]) -> None:
        for kind in self._syntax.sets:
            if found := [nal for nal in nals if self._syntax.type_of(nal[0]) == kind]:
                self._sets[kind] = found


def _split(data: bytes) -> list[bytes]:
    """NAL units of Annex B. None ends in a zero: those behind it belong to the next start code."""
    nals = [part.rstrip(b"\x00") for part in data.split(_START_CODE)[1:]]
    return [nal for nal in nals if nal]


def _counted(data: bytes, length_bytes: int, count: int | None = None) -> list[bytes]:
    """NAL units with their lengths before them, `count` of them or all."""
    nals: list[bytes] = []
    at = 0
    while at < len(data) and (count is None or len(nals) < count):
        begin = at + length_bytes
        at = begin + int.from_bytes(data[at:begin], "big")
        nals.append(data[begin:at])
    return [nal for nal in nals if nal]


def _read_avcc(data: bytes) -> tuple[int, list[bytes]]:
    """Bytes of a length, and the sets, of ISO/IEC 14496-15's AVCDecoderConfigurationRecord."""
    sps = _counted(data[6:], 2, _byte(data, 5) & 31)
    behind = 6 + sum(2 + len(nal) for nal in sps)
    return (_byte(data, 4) & 3) + 1, sps + _counted(data[behind + 1 :], 2, _byte(data, behind))


def _read_hvcc(data: bytes) -> tuple[int, list[bytes]]:
    """The same of HEVCDecoderConfigurationRecord."""
    sets: list[bytes] = []
    rest = data[23:]
    for _ in range(_byte(data, 22)):
        found = _counted(rest[3:], 2, int.from_bytes(rest[1:3], "big"))
        rest = rest[3 + sum(2 + len(nal) for nal in found) :]
        sets += found
    return (_byte(data, 21) & 3) + 1, sets


def _byte(data: bytes, at: int) -> int:
    return data[at] if at < len(data) else 0


def _av1_unit(packet: InputPacket) -> Unit:
    """Matroska leaves out of key frames what its own header says, too."""
    bare = packet.is_keyframe and _AV1_SEQUENCE_HEADER not in _obu_types(packet.data)
    before = packet.extradata[_AV1_CONFIG_BYTES:] if bare else b""
    return Unit(before + packet.data, packet.is_keyframe)


def _obu_types(data: bytes) -> set[int]:
    """Of the open bitstream units in a packet (AV1, 5.3)."""
    types = set()
    at = 0
    while at < len(data):
        head = data[at]
        types.add(head >> 3 & 15)
        if not head & 2:  # without a size: to the end
            break
        at += 2 if head & 4 else 1
        size = shift = 0
        while at < len(data):
            size |= (data[at] & 127) << shift
            at, shift, more = at + 1, shift + 7, data[at] & 128
            if not more:
                break
        at += size
    return types
