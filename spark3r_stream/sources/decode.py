"""From a container to upright RGB images: the one place that talks to PyAV. Used in-process for files and by the
child process for live streams."""

from __future__ import annotations

import bisect
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.packets import InputPacket, PacketHook, StreamFormat
from spark3r_stream.stats import DropCause, DropCounter

# A stream that yields this many errors in a row, and no frame between them, is not going to recover.
MAX_ERRORS_IN_A_ROW = 300
# No decoder holds this many pictures; a stream that gives none at all is remembered no further.
MAX_INSIDE = 4096


@dataclass(frozen=True)
class Decoded:
    """One decoded picture. image: (H, W, 3) uint8 RGB, upright. pts in `time_base` seconds, None if unknown.

    number: counts what the decoder gave from 0, damaged pictures included.
    """

    image: np.ndarray
    number: int
    pts: int | None
    time_base: Fraction


def turn_upright(image: np.ndarray, display_matrix: tuple[int, ...] | None) -> np.ndarray:
    """Apply a display matrix to a decoded picture: rotation by the nearest multiple of 90° and mirroring.

    image: (H, W, 3). display_matrix: nine int32 [a b u c d v x y w] with (p, q) → (a p + c q, b p + d q) (ISO/IEC
    14496-12, 8.2.2), None for identity. Returns (H, W, 3) or (W, H, 3), contiguous.
    """
    if display_matrix is None:
        return np.ascontiguousarray(image)
    a, b, c, d = display_matrix[0], display_matrix[1], display_matrix[3], display_matrix[4]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        flip_columns, flip_rows = a < 0, d < 0
    else:  # stored columns become displayed rows
        image = image.swapaxes(0, 1)
        flip_columns, flip_rows = c < 0, b < 0
    image = image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(image)


class UprightConverter:
    """Pictures of one stream as upright RGB. display_matrix: the last one seen, which holds until the next."""

    def __init__(self, display_matrix: tuple[int, ...] | None = None) -> None:
        self.display_matrix = display_matrix
        self._reformatter = av.video.reformatter.VideoReformatter()

    def see(self, picture: Any) -> None:
        """To be called for every undamaged picture, whether it is converted or not."""
        for item in picture.side_data:
            if item.type.name == "DISPLAYMATRIX":
                self.display_matrix = tuple(int(v) for v in np.frombuffer(bytes(item), dtype=np.int32)[:9])

    def convert(self, picture: Any) -> np.ndarray:
        """(H, W, 3) uint8."""
        rgb = self._reformatter.reformat(picture, format="rgb24").to_ndarray()
        return turn_upright(rgb, self.display_matrix)


def prepare_context(context: Any, single_thread: bool, low_delay: bool) -> None:
    """Threads and delay of a codec context that is not open yet."""
    context.thread_type = "SLICE" if low_delay else "AUTO"
    if single_thread:
        context.thread_type = "NONE"
        context.thread_count = 1
    if low_delay:
        context.flags |= av.codec.context.Flags.low_delay


class LostPictures:
    """Tells pictures that a decoder lost without an error (their references never came) from those it still holds.

    Pictures come out in the order of their times: when one comes, every earlier one that went in and did not is lost.
    Without this a live stream, which need not have an end, would never know.
    """

    def __init__(self) -> None:
        self._inside: list[int] = []

    def sent(self, pts: int | None) -> None:
        """A packet went in. Without a time it is not followed."""
        if pts is not None:
            bisect.insort(self._inside, pts)
            del self._inside[:-MAX_INSIDE]

    def failed(self, pts: int | None) -> None:
        """The packet was answered by an error."""
        if pts is None:
            return
        place = bisect.bisect_left(self._inside, pts)
        if self._inside[place : place + 1] == [pts]:
            del self._inside[place]

    def came(self, pts: int | None) -> int:
        """A picture came out; how many before it never will."""
        if pts is None:
            return 0
        self.failed(pts)
        lost = bisect.bisect_left(self._inside, pts)
        del self._inside[:lost]
        return lost


class ContainerDecoder:
    """The video stream of one container, picture by picture. Belongs to one thread.

    target: a path or URL for av.open. options and format: FFmpeg's. timeout_s: (open, read) for network targets.
    single_thread: software decoding on one thread (repeatable timing and memory); otherwise FFmpeg chooses.
    low_delay: hand out a picture as soon as it is complete (no frame threads, which each hold one back).
    Undecodable or corrupt pictures are counted in `drops`, never raised, unless there is nothing else.
    Raises SourceError when the target cannot be opened or has no video stream (message: the cause, without the name).
    """

    def __init__(
        self,
        target: str,
        drops: DropCounter,
        *,
        format: str | None = None,
        options: Mapping[str, str] | None = None,
        timeout_s: tuple[float, float] | None = None,
        single_thread: bool = False,
        low_delay: bool = False,
        on_packet: PacketHook | None = None,
        epoch: int = 0,
    ) -> None:
        self._drops = drops
        self._on_packet = on_packet
        self._epoch = epoch
        self._held_packets: list[InputPacket] = []
        self._upright_known = False
        self._low_delay = low_delay
        self._converter = UprightConverter()
        self._size: tuple[int, int] | None = None
        try:
            self._container: Any = av.open(target, "r", format=format, options=dict(options or {}), timeout=timeout_s)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(_reason(error)) from None
        streams = self._container.streams.video
        if not streams:
            self._container.close()
            raise SourceError("it has no video stream")
        # Cover art of an audio file is a video stream to FFmpeg; any real one is better.
        self._stream: Any = max(streams, key=lambda s: (not _is_cover(s), -s.index))
        context = self._stream.codec_context
        if context is None:
            codec = getattr(self._stream, "codec_tag", "?")
            self._container.close()
            raise SourceError(f"this build of FFmpeg has no decoder for its codec {codec!r}")
        prepare_context(context, single_thread, low_delay)
        self._pictures = self._decode_all()

    @property
    def nominal_fps(self) -> float | None:
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    @property
    def frame_count(self) -> int | None:
        """The container's claim; None where it makes none."""
        return int(self._stream.frames) or None

    @property
    def codec(self) -> str:
        return str(self._stream.codec_context.name)

    def read(self) -> Decoded:
        """The next picture. Raises EndOfStream at the end, SourceError when only errors come or reading fails."""
        try:
            return next(self._pictures)
        except StopIteration:
            raise EndOfStream("the video has ended") from None

    def close(self) -> None:
        """Only from the thread that reads: FFmpeg frees what a concurrent read is using."""
        self._pictures.close()
        self._container.close()

    def _decode_all(self) -> Generator[Decoded, None, None]:
        received, produced, counted, errors_in_a_row, number = 0, 0, 0, 0, -1
        last_error = "no picture could be decoded from it"
        silent = LostPictures()
        packets = self._container.demux(self._stream)
        while True:
            pictures: list[Any] = []
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.EOFError:
                break
            except av.error.InvalidDataError as error:
                # The generator is finished by its exception, the container is not: go on behind the damage.
                packets = self._container.demux(self._stream)
                last_error = _reason(error)
                errors_in_a_row += 1
                received += 1
                counted += 1
                self._drops.add(DropCause.DECODE_ERROR)
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(f"reading stopped: {_reason(error)}") from None
            else:
                if packet.size:
                    self._report(packet)
                    if not packet.is_discard:
                        received += 1
                        silent.sent(packet.pts)
                try:
                    pictures = packet.decode()
                except (av.error.FFmpegError, ValueError, MemoryError) as error:
                    last_error = _reason(error)
                    errors_in_a_row += 1
                    if packet.size:
                        counted += 1
                        silent.failed(packet.pts)
                        self._drops.add(DropCause.DECODE_ERROR)
            for picture in pictures:
                number += 1
                lost = silent.came(picture.pts)
                counted += lost
                self._drops.add(DropCause.DECODE_ERROR, lost)
                try:
                    decoded = self._convert(picture, number)
                except (av.error.FFmpegError, ValueError, MemoryError) as error:
                    last_error, decoded = _reason(error), None
                if decoded is None:
                    errors_in_a_row += 1
                    counted += 1
                    self._drops.add(DropCause.DECODE_ERROR)
                    continue
                produced, errors_in_a_row = produced + 1, 0
                yield decoded
            if errors_in_a_row >= MAX_ERRORS_IN_A_ROW:
                raise SourceError(f"{errors_in_a_row} errors in a row, the last: {last_error}")
        # What was lost at the very end, or had no times: one packet should have been one picture.
        self._drops.add(DropCause.DECODE_ERROR, max(0, received - produced - counted))
        if produced == 0:
            raise SourceError(last_error)

    def _convert(self, picture: Any, number: int) -> Decoded | None:
        if picture.is_corrupt or self._refers_to_nothing(picture):
            return None
        self._converter.see(picture)
        if not self._upright_known:
            self._upright_known = True
            self._release_held_packets()
        return Decoded(self._converter.convert(picture), number, picture.pts, picture.time_base)

    def _refers_to_nothing(self, picture: Any) -> bool:
        """These codecs change their size at key frames only. Any other picture of a new size comes from damaged
        parameters and shows what happened to be in memory, though FFmpeg does not mark it as corrupt."""
        size = (picture.width, picture.height)
        if self.codec in ("h264", "hevc") and self._size not in (None, size) and not picture.key_frame:
            return True
        self._size = size
        return False

    def _report(self, packet: Any) -> None:
        """Packets are held until the first picture tells the display matrix, which PyAV shows on pictures only."""
        if self._on_packet is None:
            return
        context = self._stream.codec_context
        record = InputPacket(
            data=bytes(packet),
            pts=packet.pts,
            dts=packet.dts,
            time_base=Fraction(packet.time_base),
            is_keyframe=bool(packet.is_keyframe),
            codec=context.name,
            extradata=context.extradata or b"",
            display_matrix=self._converter.display_matrix,
            epoch=self._epoch,
            stream=StreamFormat(
                width=context.width,
                height=context.height,
                pixel_format=context.pix_fmt or "",
                color_range=int(context.color_range),
                colorspace=int(context.colorspace),
                low_delay=self._low_delay,
            ),
            is_discarded=bool(packet.is_discard),
        )
        if self._upright_known:
            self._on_packet(record)
        else:
            self._held_packets.append(record)

    def _release_held_packets(self) -> None:
        held, self._held_packets = self._held_packets, []
        for record in held:
            assert self._on_packet is not None
            self._on_packet(replace(record, display_matrix=self._converter.display_matrix))


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _reason(error: BaseException) -> str:
    """FFmpeg's words without its error number and without the target, which may hold credentials."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)
