"""Which packets of a recorded stream are shown, and when: those of the run's frames at the times of these, and those
between, which they refer to, in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, groupby, pairwise
from typing import Any

from av.video.frame import PictureType

from spark3r_stream.errors import RecordingError
from spark3r_stream.export.video_units import FORMATS, units_of
from spark3r_stream.packets import InputPacket
from spark3r_stream.recording.records import RecordedPacket
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.sources.packet_decoder import PacketDecoder
from spark3r_stream.sources.upright import shown_size
from spark3r_stream.wire import envelope as wire


class NotVideo(Exception):
    """Why a stream cannot be foxglove.CompressedVideo, in words that follow "the input"."""


@dataclass(frozen=True)
class Times:
    """Of a picture. captured_ns: as in the envelope of its frame. logged_ns: when its frame was published."""

    captured_ns: int
    logged_ns: int

    def towards(self, later: Times, part: Fraction) -> Times:
        return Times(
            self.captured_ns + int((later.captured_ns - self.captured_ns) * part),
            self.logged_ns + int((later.logged_ns - self.logged_ns) * part),
        )


def frame_times(run: RecordedRun) -> dict[int, Times]:
    """Of every published frame, by its id."""
    return {
        message.envelope.frame_id: Times(message.envelope.captured_ns, message.envelope.published_ns)
        for message in run.recording.messages([wire.FRAME])
        if message.envelope.published_ns >= 0  # MCAP has no others
    }


def packet_times(run: RecordedRun, frames: Mapping[int, Times]) -> dict[int, Times]:
    """When the packets of a recording are shown, by their index; those that nothing needs are left out.

    Every packet is decoded. Raises NotVideo; RecordingError where one is missing or nothing can be decoded.
    """
    if not run.has_input:
        raise NotVideo("is rendered, and no stream")
    pictures = {
        (frame.epoch, frame.picture): frames[frame.frame_id]
        for window in run.decisions
        for frame in window.new_frames
        if frame.frame_id in frames
    }
    times: dict[int, Times] = {}
    for _, packets in groupby(run.packets(), key=lambda recorded: recorded.packet.epoch):
        times |= _EpochTimes(pictures, packets).shown()
    if not times:
        raise RecordingError(f"{run.path}: its frames do not come out of the recorded input; is it damaged?")
    return times


class _EpochTimes:
    """One stream without an interruption, decoded."""

    def __init__(self, pictures: Mapping[tuple[int, int], Times], packets: Iterator[RecordedPacket]) -> None:
        first = next(packets)
        _check(first.packet)
        self._pictures = pictures
        self._epoch = first.packet.epoch
        self._starts: list[int] = []
        self._used: list[tuple[int, Times]] = []
        self._last = -1
        unit, decoder = units_of(first.packet), PacketDecoder(first.packet)
        for recorded in chain([first], packets):
            _check(recorded.packet)
            if unit(recorded.packet).is_start:
                self._starts.append(recorded.index)
            # by its time a picture says which packet it came of: the stream's own may repeat or be missing
            self._see(decoder.decode(replace(recorded.packet, pts=recorded.index, dts=recorded.index)))
        self._see(decoder.decode(None))

    def _see(self, pictures: Iterator[tuple[int, Any]]) -> None:
        for number, picture in pictures:
            if picture.pict_type == PictureType.B or picture.pts <= self._last:
                raise NotVideo("has B-frames, pictures that refer to later ones")
            if picture.interlaced_frame:
                raise NotVideo("is interlaced")
            self._last = picture.pts
            if (self._epoch, number) in self._pictures:
                self._used.append((picture.pts, self._pictures[self._epoch, number]))

    def shown(self) -> dict[int, Times]:
        """From the key frame that the first used picture needs to the last used one."""
        if not self._used:
            return {}
        first, at = self._used[0]
        begin = max((start for start in self._starts if start <= first), default=None)
        if begin is None:
            raise NotVideo("has no key frame that a player could begin with")
        times = dict.fromkeys(range(begin, first), at)
        for (left, before), (right, after) in pairwise(self._used):
            times |= {n: before.towards(after, Fraction(n - left, right - left)) for n in range(left, right)}
        return times | dict(self._used[-1:])


def _check(packet: InputPacket) -> None:
    if packet.stream is None:
        raise NotVideo("is pictures that are files of their own")
    if packet.codec not in FORMATS:
        raise NotVideo(f"is {packet.codec or 'of no known codec'}, which foxglove.CompressedVideo does not have")
    form = packet.stream
    size = form.width, form.height
    aspect = Fraction(max(1, form.pixel_aspect_numerator), max(1, form.pixel_aspect_denominator))
    if packet.display_matrix is not None or shown_size(*size, aspect) != size:
        raise NotVideo("has to be turned or stretched to be shown, which no player of that schema does")
