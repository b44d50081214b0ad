"""`synthetic:` sources: the procedural world with its exact ground truth, as a stream of frames."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.sources.base import SourceInfo, SourceKind, SourceState, SourceStateBox
from spark3r_stream.sources.timing import NS_PER_S
from spark3r_stream.stats import DropCounter

if TYPE_CHECKING:
    from spark3r_core.synthetic.sequence import SyntheticSequence

PREFIX = "synthetic:"
WORLDS = ("room", "corridor", "court", "plain_room", "twin_rooms", "doors", "street", "terrace")
PATHS = ("loop", "handheld", "robot", "orbit", "forward", "still", "wander", "wall_start", "twin_rooms", "turn")
_EXAMPLE = "synthetic:room?seed=3&frames=300&kind=loop&size=640x480&fov=62&fps=30"


@dataclass(frozen=True)
class SyntheticSpec:
    """A parsed `synthetic:` URI. kind: the camera path. size: (width, height). fov_deg: of the longer side, degrees.

    augment: exposure drift, noise, blur and JPEG as of a real camera. live: paced, and treated like a camera.
    pause: frames in the middle for which the camera stands still. step: video frames (1/30 s) of the path from picture
    to picture, so how fast it is gone. lens: distortion k1,k2,p1,p2…; of a fisheye
    k1,k2,k3,k4. tag: edge of an AprilTag 36h11:0 on what frame tag_at looks at; 0: none. span: the part of the path
    that is shown, from where to where: 0:0.6, or 1:0.4 for the other way from the other end. camera: another one has
    other exposure and noise. mount: where it is on a rig that goes along the path: right, down, ahead, and degrees to
    the right.
    """

    world: str = "room"
    seed: int = 0
    frames: int = 300
    kind: str = "loop"
    size: tuple[int, int] = (640, 480)
    fov_deg: float = 62.0
    fps: float = 30.0
    augment: bool = True
    live: bool = False
    pause: int = 0
    step: float = 1.0
    lens: tuple[float, ...] = ()
    fisheye: bool = False
    tag: float = 0.0
    tag_at: int = 0
    span: tuple[float, float] = (0.0, 1.0)
    camera: int = 0
    mount: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class GroundTruth:
    """What a synthetic source knows exactly. Poses are OpenCV cameras; lengths are units of the synthetic world.

    world_from_camera: (frames, 4, 4) float64. intrinsics: (3, 3) float64 pixels of the handed-out frames.
    pts_ns: (frames,) int64, their presentation times. camera: with its lens.
    """

    world_from_camera: np.ndarray
    intrinsics: np.ndarray
    pts_ns: np.ndarray
    camera: Intrinsics
    _sequence: SyntheticSequence

    def depth(self, index: int) -> np.ndarray:
        """z-depth of frame `index`, (H, W) float32, inf for sky. Rendered on request."""
        return np.asarray(self._sequence.frame(index)[1], dtype=np.float32)


def parse_synthetic(uri: str) -> SyntheticSpec:
    """Parse `synthetic:WORLD?key=value&…`. Raises SourceError naming the unknown word, key or value."""
    world, _, query = uri.removeprefix(PREFIX).partition("?")
    world = world or "room"
    if world not in WORLDS:
        raise SourceError(f"{uri}: unknown world {world!r}; expected one of {', '.join(WORLDS)}, as in {_EXAMPLE}")
    known = {
        "seed": ("seed", lambda v: _bounded(int(v), 0, 2**31 - 1)),
        "frames": ("frames", lambda v: _bounded(int(v), 1, 1_000_000)),
        "kind": ("kind", _path_kind),
        "size": ("size", _size),
        "fov": ("fov_deg", lambda v: _bounded(float(v), 10.0, 150.0)),
        "fps": ("fps", lambda v: _bounded(float(v), 0.01, 1000.0)),
        "augment": ("augment", _flag),
        "live": ("live", _flag),
        "step": ("step", lambda v: _bounded(float(v), 0.01, 100.0)),
        "pause": ("pause", lambda v: _bounded(int(v), 0, 1_000_000)),
        "lens": ("lens", lambda v: tuple(_bounded(float(one), -10, 10) for one in v.split(","))),
        "fisheye": ("fisheye", _flag),
        "tag": ("tag", lambda v: _bounded(float(v), 0.0, 10.0)),
        "tag_at": ("tag_at", lambda v: _bounded(int(v), 0, 1_000_000)),
        "span": ("span", _span),
        "camera": ("camera", lambda v: _bounded(int(v), 0, 1000)),
        "mount": ("mount", _mount),
    }
    values: dict[str, object] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise SourceError(f"{uri}: unknown key {key!r}; known are {', '.join(known)}, as in {_EXAMPLE}")
        field, parse = known[key]
        try:
            values[field] = parse(text)
        except ValueError as error:
            raise SourceError(f"{uri}: {key}={text!r} is not usable: {error}") from None
    return SyntheticSpec(world=world, **values)  # type: ignore[arg-type]


class SyntheticSource:
    """A finite, lossless source of rendered frames; `ground_truth` has their exact poses, intrinsics and depths.

    Frame `i` shows `ground_truth.world_from_camera[i]` and has pts_ns = i / fps. Needs torch (the renderer).
    """

    def __init__(self, uri: str) -> None:
        spec = parse_synthetic(uri)
        try:
            from spark3r_core.synthetic.sequence import SyntheticSequence
        except ModuleNotFoundError as error:
            raise SourceError(f"{uri} needs {error.name} to render; install spark3r-stream[engine]") from None
        self.spec = spec
        self.drops = DropCounter()
        self._name = uri
        self._state = SourceStateBox()
        self._closed = threading.Event()
        self._next_id = 0
        width, height = spec.size
        try:
            self._sequence = SyntheticSequence(
                spec.seed,
                spec.frames,
                kind=spec.kind,
                world_kind=spec.world,
                image_hw=(height, width),
                fov_deg=spec.fov_deg,
                augment=spec.augment,
                step=spec.step,
                pause=spec.pause,
                lens=spec.lens,
                fisheye=spec.fisheye,
                tag=spec.tag,
                tag_at=spec.tag_at,
                span=spec.span,
                camera=spec.camera,
                mount=spec.mount,
            )
        except GeometryError as error:  # a lens that is none, or a span
            raise SourceError(f"{uri}: {error}") from None
        self.ground_truth = GroundTruth(
            world_from_camera=np.asarray(self._sequence.world_from_camera, dtype=np.float64),
            intrinsics=np.asarray(self._sequence.intrinsics, dtype=np.float64),
            pts_ns=np.array([round(i * NS_PER_S / spec.fps) for i in range(len(self._sequence))], dtype=np.int64),
            camera=self._sequence.camera,
            _sequence=self._sequence,
        )
        self._info = SourceInfo(
            kind=SourceKind.SYNTHETIC,
            name=uri,
            is_live=False,
            size=spec.size,
            nominal_fps=spec.fps,
            frame_count=len(self._sequence),
        )
        self._state.to(SourceState.STREAMING)

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def state(self) -> SourceState:
        return self._state.state

    def read(self) -> Frame:
        """Render the next frame; captured_ns is pts_ns. Raises EndOfStream at the end or once closed."""
        if self._closed.is_set() or self._next_id >= len(self._sequence):
            self._state.finish(SourceState.ENDED)
            raise EndOfStream(f"{self._name} has ended")
        pts_ns = int(self.ground_truth.pts_ns[self._next_id])
        frame = Frame(
            image=np.ascontiguousarray(self._sequence.frame(self._next_id)[0]),
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


def _bounded(value, low, high):
    if not low <= value <= high:
        raise ValueError(f"expected a number from {low} to {high}")
    return value


def _path_kind(text: str) -> str:
    if text not in PATHS:
        raise ValueError(f"expected one of {', '.join(PATHS)}")
    return text


def _size(text: str) -> tuple[int, int]:
    width, x, height = text.partition("x")
    if not x:
        raise ValueError("expected WIDTHxHEIGHT, as in 640x480")
    return _bounded(int(width), 16, 8192), _bounded(int(height), 16, 8192)


def _mount(text: str) -> tuple[float, float, float, float]:
    right, down, ahead, degrees = (_bounded(float(one), -360.0, 360.0) for one in text.split(","))
    return right, down, ahead, degrees


def _span(text: str) -> tuple[float, float]:
    begin, colon, end = text.partition(":")
    if not colon:
        raise ValueError("expected two shares of the path, as in 0:0.6")
    return _bounded(float(begin), 0.0, 1.0), _bounded(float(end), 0.0, 1.0)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("expected 0 or 1")
    return text == "1"
