"""The frames that a recorded run handed to the network, decoded again from the recorded input."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from spark3r_stream.errors import EndOfStream, RecordingError, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.packets import InputPacket, PacketHook
from spark3r_stream.recording.records import FrameTime
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.schema import MAX_PIXELS
from spark3r_stream.sources.base import SourceInfo, SourceKind, SourceState, SourceStateBox
from spark3r_stream.sources.images import decode_image
from spark3r_stream.sources.packet_decoder import PacketDecoder
from spark3r_stream.sources.synthetic import PREFIX as SYNTHETIC_PREFIX
from spark3r_stream.sources.synthetic import GroundTruth, SyntheticSource, parse_synthetic
from spark3r_stream.stats import DropCounter

# epoch, number of the picture in it, and how to get its image: most pictures of a live stream are not needed
Picture = tuple[int, int, Callable[[], np.ndarray]]


class RecordingSource:
    """A finite, lossless source: ids, epochs and times of the frames are the recorded ones.

    Frames that were lost in the recorded run are decoded where others depend on them, and not handed out. on_packet
    gets the recorded packets again. notes: for the user, in `info`. The first frame is decoded on construction. Raises
    RecordingError for an input that is missing or decodes differently, SourceError where it cannot be decoded at all.
    """

    def __init__(self, run: RecordedRun, on_packet: PacketHook | None = None, notes: Sequence[str] = ()) -> None:
        self.drops = DropCounter()  # stays empty: the losses of the recorded run are among its decisions
        self.ground_truth: GroundTruth | None = None
        self._run = run
        self._on_packet = on_packet
        self._state = SourceStateBox()
        self._closed = threading.Event()
        self._wanted = [time for window in run.decisions for time in window.new_frames][::-1]
        self._pictures = self._recorded_pictures() if run.has_input else self._rendered_pictures()
        self._first: Frame | None = self._next_frame()
        height, width = self._first.image.shape[:2]
        self._info = SourceInfo(
            kind=SourceKind.RECORDING,
            name=run.source_id,
            is_live=False,
            size=(width, height),
            nominal_fps=None,
            frame_count=run.frame_count,
            notes=tuple(notes),
            recorded_live=self._first.captured_ns != self._first.pts_ns,  # a file's frames are captured at their pts
        )
        self._state.to(SourceState.STREAMING)

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def state(self) -> SourceState:
        return self._state.state

    def read(self) -> Frame:
        """The next frame. Raises EndOfStream after the last recorded one or once closed, RecordingError if one of them
        cannot be decoded again."""
        if self._closed.is_set() or (self._first is None and not self._wanted):
            self._state.finish(SourceState.ENDED)
            raise EndOfStream(f"{self._run.path} has no more frames")
        try:
            frame, self._first = self._first or self._next_frame(), None
        except (SourceError, RecordingError):
            self._state.finish(SourceState.FAILED)
            raise
        return frame

    def close(self) -> None:
        self._closed.set()
        self._state.finish(SourceState.ENDED)

    def _next_frame(self) -> Frame:
        wanted = self._wanted.pop()
        for epoch, number, image in self._pictures:
            if (epoch, number) == (wanted.epoch, wanted.picture):
                return self._frame(image(), wanted)
        raise RecordingError(
            f"{self._run.path}: frame {wanted.frame_id} (picture {wanted.picture} of epoch {wanted.epoch}) does not"
            " come out of the recorded input; was it recorded with another version of FFmpeg?"
        )

    def _frame(self, image: np.ndarray, time: FrameTime) -> Frame:
        return Frame(
            image=image,
            frame_id=time.frame_id,
            epoch=time.epoch,
            captured_ns=time.captured_ns,
            pts_ns=time.pts_ns,
            source_id=self._run.source_id,
            picture=time.picture,
            hint=time.hint,
            depth_ratio=time.depth_ratio,
            fixes=time.fixes,
        )

    def _recorded_pictures(self) -> Iterator[Picture]:
        decoder: PacketDecoder | None = None
        epoch, images = -1, 0
        for recorded in self._run.packets():
            packet = recorded.packet
            if self._on_packet is not None:
                self._on_packet(packet)
            if packet.stream is None:
                name = f"{self._run.path}: image {images}"
                yield packet.epoch, images, lambda data=packet.data, name=name: decode_image(data, name, MAX_PIXELS)  # type: ignore[misc]
                images += 1
                continue
            if decoder is None or packet.epoch != epoch:
                if decoder is not None:
                    yield from _decoded(decoder, None, epoch)
                decoder, epoch = PacketDecoder(packet), packet.epoch
            yield from _decoded(decoder, packet, epoch)
        if decoder is not None:
            yield from _decoded(decoder, None, epoch)

    def _rendered_pictures(self) -> Iterator[Picture]:
        """A synthetic source has no packets: its URI says everything, so it is rendered again."""
        uri = str(self._run.settings.get("source", ""))
        if not uri.startswith(SYNTHETIC_PREFIX):
            raise RecordingError(
                f"{self._run.path} holds no input of {uri or 'its source'}; `spark3r replay` plays what was published"
            )
        width, height = parse_synthetic(uri).size
        if width * height > MAX_PIXELS:
            raise RecordingError(f"{self._run.path}: its pictures are {width}x{height}; at most {MAX_PIXELS} pixels")
        source = SyntheticSource(uri)
        first = self._run.decisions[0].new_frames[0]
        if first.captured_ns == first.pts_ns:  # as in SyntheticSource; Unix times match no truth
            self.ground_truth = source.ground_truth
        while True:
            try:
                frame = source.read()
            except EndOfStream:
                return
            yield frame.epoch, frame.frame_id, lambda frame=frame: frame.image  # type: ignore[misc]


def _decoded(decoder: PacketDecoder, packet: InputPacket | None, epoch: int) -> Iterator[Picture]:
    for number, picture in decoder.decode(packet):
        yield epoch, number, lambda picture=picture: decoder.convert(picture)  # type: ignore[misc]
