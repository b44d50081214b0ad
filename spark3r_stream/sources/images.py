"""A folder of images: every readable photograph, upright, in the order of their names, with the times they have."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.packets import InputPacket
from spark3r_stream.plain_text import unicode_text
from spark3r_stream.sources.base import SourceInfo, SourceKind, SourceState, SourceStateBox
from spark3r_stream.sources.image_names import IMAGE_SUFFIXES, choose_images
from spark3r_stream.sources.image_times import times_of
from spark3r_stream.sources.options import SourceOptions
from spark3r_stream.stats import DropCause, DropCounter

# Of the suffixes that are frames, by what the files are; never one that runs another program, as EPS does.
FORMATS = ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"] + (["AVIF"] if features.check("avif") else [])


def decode_image(data: bytes, name: str, max_pixels: int | None = None) -> np.ndarray:
    """An encoded image as (H, W, 3) uint8 RGB, EXIF orientation applied. 16-bit grey keeps its upper 8 bits, alpha is
    left out.

    max_pixels: of an image from a stranger, looked at before it is unpacked. Raises SourceError naming `name` when it
    is unreadable, too large, or of a pixel type that has no fixed range (float).
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as stored:
            if max_pixels is not None and stored.width * stored.height > max_pixels:
                raise SourceError(f"{name} has {stored.width}x{stored.height} pixels; at most {max_pixels} are taken")
            stored.load()
            image = ImageOps.exif_transpose(stored)
            if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip and not scale
                values = np.asarray(image).astype(np.int64)
                if values.min() < 0 or values.max() > 65535:
                    raise SourceError(f"{name}: 32-bit integer pixels; 8- or 16-bit images are expected")
                grey = (values >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            if image.mode == "F":
                raise SourceError(f"{name}: floating-point pixels; 8- or 16-bit images are expected")
            return np.array(image.convert("RGB"))
    except SourceError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything for broken files of one format or another
        raise SourceError(f"{name} is not a readable image: {error}") from None


class ImageFolderSource:
    """A finite, lossless source. `folder` may also be the parent of a folder named frames.

    The first readable image is loaded on construction. Raises SourceError when there is none.
    """

    def __init__(self, folder: Path, options: SourceOptions) -> None:
        self.drops = DropCounter()
        self._name = unicode_text(str(folder))
        self._on_packet = options.on_packet
        self._state = SourceStateBox()
        self._closed = threading.Event()
        self._next_id = 0
        try:
            chosen = choose_images(folder)
            if not chosen.taken and (folder / "frames").is_dir():
                folder = folder / "frames"
                chosen = choose_images(folder)
        except OSError as error:
            raise SourceError(f"{folder} cannot be read: {error.strerror}") from None
        images = chosen.taken
        if not images:
            raise SourceError(
                f"{folder} holds no image ({' '.join(sorted(s[1:] for s in IMAGE_SUFFIXES))}); give a folder of images"
                + "".join(f" ({note})" for note in chosen.notes)
            )
        times = times_of(folder, images, options.images_fps)
        self._todo = list(zip(images, times.times_ns, strict=True))[::-1]
        count = len(images)
        first_image = images[0]
        self._first = self._next_readable()
        if self._first is None:
            raise SourceError(f"none of the {count} images in {folder} is readable, beginning with {first_image.name}")
        height, width = self._first[0].shape[:2]
        self._info = SourceInfo(
            kind=SourceKind.IMAGES,
            name=self._name,
            is_live=False,
            size=(width, height),
            nominal_fps=times.fps,
            frame_count=count,
            notes=(*chosen.notes, *times.notes),
        )
        self._state.to(SourceState.STREAMING)

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def state(self) -> SourceState:
        return self._state.state

    def read(self) -> Frame:
        """The next readable image; captured_ns is pts_ns. Raises EndOfStream at the end or once closed."""
        if self._closed.is_set():
            raise EndOfStream(f"{self._name} was closed")
        loaded, self._first = self._first or self._next_readable(), None
        if loaded is None:
            self._state.finish(SourceState.ENDED)
            raise EndOfStream(f"{self._name} has no more images")
        image, pts_ns = loaded
        frame = Frame(
            image=image,
            frame_id=self._next_id,
            epoch=0,
            captured_ns=pts_ns,
            pts_ns=pts_ns,
            source_id=self._name,
        )
        self._next_id += 1
        return frame

    def close(self) -> None:
        self._closed.set()
        self._state.finish(SourceState.ENDED)

    def _next_readable(self) -> tuple[np.ndarray, int] | None:
        while self._todo and not self._closed.is_set():
            path, pts_ns = self._todo.pop()
            try:
                data = path.read_bytes()
                image = decode_image(data, str(path))
            except (SourceError, OSError):
                self.drops.add(DropCause.DECODE_ERROR)
                continue
            if self._on_packet is not None:
                self._on_packet(InputPacket.of_picture(data, path.suffix.lower().lstrip("."), pts_ns))
            return image, pts_ns
        return None
