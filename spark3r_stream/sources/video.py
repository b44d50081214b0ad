"""A video file: every frame, upright, with the container's own times. Decoded in this process; never reconnects."""

from __future__ import annotations

import threading
from pathlib import Path

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.plain_text import unicode_text
from spark3r_stream.sources.base import SourceInfo, SourceKind, SourceState, SourceStateBox
from spark3r_stream.sources.decode import ContainerDecoder, Decoded
from spark3r_stream.sources.options import SourceOptions
from spark3r_stream.stats import DropCounter


class VideoSource:
    """A finite, lossless source. The first frame is decoded on construction, so that a bad file is known at once.

    Raises SourceError (one line) for a missing file, a folder, a file that is not a video, or one without any frame.
    """

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self.drops = DropCounter()
        self._name = unicode_text(str(path))
        self._state = SourceStateBox()
        self._closing = threading.Event()
        self._reading = threading.Lock()
        self._next_id = 0
        if not path.exists():
            raise SourceError(
                f"{path}: no such file; give a video file, an image folder, a URL, webcam:0 or synthetic:room"
            )
        if path.is_dir():
            raise SourceError(f"{path} is a folder; a video file was expected")
        try:
            # "file:", or a name with a colon would be taken for a protocol; the whitelist, so that a playlist that
            # calls itself .mp4 cannot make us fetch what it names from the network.
            self._decoder = ContainerDecoder(
                f"file:{path.absolute()}",
                self.drops,
                options={"protocol_whitelist": "file,crypto,data"},
                single_thread=options.single_thread_decode,
                on_packet=options.on_packet,
            )
            try:
                self._first: Decoded | None = self._decoder.read()
            except (EndOfStream, SourceError):
                self._decoder.close()
                raise
        except (EndOfStream, SourceError) as error:
            raise SourceError(f"{path} cannot be read as a video: {error}") from None
        height, width = self._first.image.shape[:2]
        self._info = SourceInfo(
            kind=SourceKind.VIDEO,
            name=self._name,
            is_live=False,
            size=(width, height),
            nominal_fps=self._decoder.nominal_fps,
            frame_count=self._decoder.frame_count,
        )
        self._state.to(SourceState.STREAMING)

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def state(self) -> SourceState:
        return self._state.state

    def read(self) -> Frame:
        """The next frame; captured_ns is pts_ns. Raises EndOfStream at the end or once closed, else SourceError."""
        with self._reading:
            if self._closing.is_set():
                self._decoder.close()
                raise EndOfStream(f"{self._name} was closed")
            try:
                decoded = self._first or self._decoder.read()
            except EndOfStream:
                self._state.finish(SourceState.ENDED)
                raise
            except SourceError as error:
                self._state.finish(SourceState.FAILED)
                raise SourceError(f"{self._name}: {error}") from None
            self._first = None
            frame = Frame(
                image=decoded.image,
                frame_id=self._next_id,
                epoch=0,
                captured_ns=decoded.pts_ns,
                pts_ns=decoded.pts_ns,
                source_id=self._name,
                picture=decoded.number,
            )
            self._next_id += 1
            return frame

    def close(self) -> None:
        """A read in progress finishes its one frame (a local file does not block) and the next one ends the stream."""
        self._closing.set()
        self._state.finish(SourceState.ENDED)
        if self._reading.acquire(blocking=False):
            try:
                self._decoder.close()
            finally:
                self._reading.release()
