"""From a container to upright RGB images: the one place that talks to PyAV. Used in-process for files and by the
child process for live streams."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.packets import PacketHook
from spark3r_stream.sources.codec import prepare_context
from spark3r_stream.sources.losses import LostPictures
from spark3r_stream.sources.packet_log import PacketLog
from spark3r_stream.sources.timing import NS_PER_S, PictureTimes, ticks_to_ns
from spark3r_stream.sources.upright import SQUARE, UprightConverter
from spark3r_stream.stats import DropCause, DropCounter

# A stream that yields this many errors in a row, and no frame between them, is not going to recover.
MAX_ERRORS_IN_A_ROW = 300
# Pictures of a file that are decoded before the first is handed out, so that a bad stamp is known by those behind it.
MAX_AHEAD = 8
MAX_AHEAD_BYTES = 64 << 20  # of their pixels; two are kept in any case


@dataclass(frozen=True)
class Decoded:
    """One decoded picture. image: (H, W, 3) uint8 RGB, upright. pts_ns: since the first, strictly increasing.

    number: counts what the decoder gave from 0, damaged pictures included.
    """

    image: np.ndarray
    number: int
    pts_ns: int


class ContainerDecoder:
    """The video stream of one container, picture by picture. Belongs to one thread.

    target: a path or URL for av.open. options and format: FFmpeg's. timeout_s: (open, read) for network targets.
    single_thread: software decoding on one thread (repeatable timing and memory); otherwise FFmpeg chooses.
    low_delay: hand out a picture as soon as it is complete (no frame threads, which each hold one back); otherwise a
    few are decoded ahead, which tells good stamps from bad ones.
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
        self._low_delay = low_delay
        self._converter = UprightConverter()
        self._packets = PacketLog(on_packet, epoch, self._converter, low_delay)
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
        # the container's word, else the codec's
        self._converter.pixel_aspect = Fraction(self._stream.sample_aspect_ratio or SQUARE)
        context.copy_opaque = True  # a picture then says which packet it was
        self._lost = LostPictures(context.name)
        self._has_frame_threads = not (single_thread or low_delay)
        self._damaged: deque[int] = deque(maxlen=64)  # packets whose picture is not whole
        self._failed: deque[int] = deque(maxlen=64)  # and is counted already
        self._step_ns: int | None = None
        self._times = PictureTimes(self.nominal_fps)
        self._ahead: deque[tuple[int, np.ndarray]] = deque()
        self._pictures = self._decode_ahead()

    @property
    def nominal_fps(self) -> float | None:
        """The container's claim; of two that differ the one that the first pictures confirm, once they are decoded."""
        claims = [float(rate) for rate in (self._stream.average_rate, self._stream.guessed_rate) if rate]
        if self._step_ns is None or not claims:
            return claims[0] if claims else None
        seen_fps = NS_PER_S / self._step_ns
        return min(claims, key=lambda claim: abs(math.log(claim / seen_fps)))

    @property
    def frame_count(self) -> int | None:
        """The container's claim; None where it makes none. AVI counts the pictures it leaves out, too."""
        claim, fps = self._stream.average_rate, self.nominal_fps
        ratio = fps / float(claim) if claim and fps else 1.0
        return round(self._stream.frames * ratio) or None

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

    def _decode_ahead(self) -> Generator[Decoded, None, None]:
        """Pictures with their times, each after those that say whether its stamp makes sense."""
        failure: SourceError | None = None
        pictures = self._decode_all()
        while True:
            try:
                number, picture, image = next(pictures)
            except StopIteration:
                break
            except SourceError as error:
                failure = error
                break
            self._times.see(ticks_to_ns(picture.pts, picture.time_base), ticks_to_ns(picture.dts, picture.time_base))
            self._ahead.append((number, image))
            if len(self._ahead) > self._most_ahead(image.nbytes):
                yield self._hand_out()
        while self._ahead:
            yield self._hand_out()
        if failure is not None:
            raise failure

    def _most_ahead(self, image_bytes: int) -> int:
        return 0 if self._low_delay else min(MAX_AHEAD, max(2, MAX_AHEAD_BYTES // image_bytes))

    def _hand_out(self) -> Decoded:
        if self._step_ns is None:
            self._step_ns = self._times.step_ns()
        number, image = self._ahead.popleft()
        return Decoded(image, number, self._times.next())

    def _decode_all(self) -> Generator[tuple[int, Any, np.ndarray], None, None]:
        """(number, picture, image) of what is undamaged, in the order of output."""
        produced, errors_in_a_row, number, sent = 0, 0, -1, -1
        last_error = "no picture could be decoded from it"
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
                self._drops.add(DropCause.DECODE_ERROR)
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(f"reading stopped: {_reason(error)}") from None
            else:
                if packet.size:
                    self._packets.add(packet, self._stream.codec_context)
                    sent += 1
                    packet.opaque = sent
                    if packet.is_corrupt and self._container.format.name != "mpegts":  # which means a gap beside it
                        self._damaged.append(sent)
                    if not packet.is_discard:
                        self._lost.sent(sent)
                try:
                    pictures = packet.decode()
                except (av.error.FFmpegError, ValueError, MemoryError) as error:
                    last_error = _reason(error)
                    errors_in_a_row += 1
                    if packet.size:
                        self._fail(sent)
                        self._drops.add(DropCause.DECODE_ERROR)
            for picture in pictures:
                number += 1
                self._drops.add(DropCause.DECODE_ERROR, self._lost_before(picture))
                try:
                    image = self._convert(picture)
                except (av.error.FFmpegError, ValueError, MemoryError) as error:
                    last_error, image = _reason(error), None
                if image is None:
                    errors_in_a_row += 1
                    if picture.opaque not in self._failed:
                        self._drops.add(DropCause.DECODE_ERROR)
                    continue
                produced, errors_in_a_row = produced + 1, 0
                yield number, picture, image
            if errors_in_a_row >= MAX_ERRORS_IN_A_ROW:
                raise SourceError(f"{errors_in_a_row} errors in a row, the last: {last_error}")
        self._drops.add(DropCause.DECODE_ERROR, self._lost.ended())
        if produced == 0:
            raise SourceError(last_error)

    def _fail(self, number: int) -> None:
        """An error came when packet `number` went in: its own, or with frame threads that of an earlier one."""
        if self._has_frame_threads:
            self._lost.failed(None)
        else:
            self._lost.failed(number)
            self._failed.append(number)

    def _lost_before(self, picture: Any) -> int:
        return self._lost.came(
            picture.opaque,
            is_key=picture.key_frame,
            is_interlaced=picture.interlaced_frame,
            reorder_depth=self._stream.codec_context.reorder_depth,
        )

    def _convert(self, picture: Any) -> np.ndarray | None:
        damaged = picture.is_corrupt or picture.opaque in self._damaged or picture.opaque in self._failed
        if damaged or self._refers_to_nothing(picture):
            return None
        self._converter.see(picture)
        self._packets.picture_came()
        return self._converter.convert(picture)

    def _refers_to_nothing(self, picture: Any) -> bool:
        """These codecs change their size at key frames only. Any other picture of a new size comes from damaged
        parameters and shows what happened to be in memory, though FFmpeg does not mark it as corrupt."""
        size = (picture.width, picture.height)
        if self.codec in ("h264", "hevc") and self._size not in (None, size) and not picture.key_frame:
            return True
        self._size = size
        return False


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _reason(error: BaseException) -> str:
    """FFmpeg's words without its error number and without the target, which may hold credentials."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)
