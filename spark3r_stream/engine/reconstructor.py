"""Frames in, FrameOutputs out: camera model, resize, session, submaps, health and points of each window.

The engine moves frames and messages; everything that gives them geometric meaning is here, on top of
`spark3r_core.stream.session`, so that a program with its own transport can use this class alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spark3r_core.errors import Spark3rError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.facts import ModelFacts
from spark3r_core.models.interface import Backbone
from spark3r_core.models.preprocess import StreamResize
from spark3r_core.stream.estimates import FrameEstimate, WindowResult
from spark3r_core.stream.session import StreamSession
from spark3r_stream.engine.frame_cloud import CloudConfig, cloud_of
from spark3r_stream.engine.health import HealthConfig, HealthMonitor
from spark3r_stream.engine.picture import jpeg_of
from spark3r_stream.engine.results import StepOutput, failed, failed_output, first_line, result_of
from spark3r_stream.engine.split_window import MAX_ASPECT_CHANGE
from spark3r_stream.engine.undistort import Undistorter
from spark3r_stream.frame import Frame
from spark3r_stream.stats import DropCause
from spark3r_stream.wire.messages import CameraView, FrameOutput, MapCorrection, TrackingState

log = logging.getLogger(__name__)


class Reconstructor:
    """One stream of frames through one model.

    Args:
        model: any backbone.
        memory: what its sessions keep.
        long_side: longest side of the network input in pixels; None: the model's own.
        camera: the user's camera; frames are undistorted and the predicted intrinsics replaced.
        cloud, health: settings of points and states.
        refine: whether poses are refined against the pixels; None: as the model's capabilities say.
    """

    def __init__(
        self,
        model: Backbone,
        memory: MemoryConfig,
        long_side: int | None = None,
        camera: Intrinsics | None = None,
        cloud: CloudConfig | None = None,
        health: HealthConfig | None = None,
        refine: bool | None = None,
    ) -> None:
        self.model = model
        self.memory = memory
        self.camera = camera
        self.cloud = cloud or CloudConfig()
        self._long_side = long_side
        self._undistorter = Undistorter(camera) if camera is not None else None
        self._health_config = health or HealthConfig()
        self._health = HealthMonitor(self._health_config)
        self._refine = refine
        self._session = StreamSession(model, memory, refine=refine)
        self._resize: StreamResize | None = None
        self._aspect: float | None = None
        self._epoch: int | None = None
        self._map_from_submap = Sim3()
        self._last_good: np.ndarray | None = None  # newest camera of a window that agreed with the map
        self.submap = 0
        self.pictures = False

    @property
    def facts(self) -> ModelFacts:
        return self.model.facts

    @property
    def image_hw(self) -> tuple[int, int] | None:
        """Network input size, known after the first frame."""
        return None if self._resize is None else self._resize.image_hw

    def starts_submap(self, frame: Frame) -> bool:
        """Whether this frame's shape differs so much from the session's that it needs a submap of its own.

        Never with the user's camera: there a frame of another shape fails on its own, and the map goes on without it.
        """
        if self._aspect is None or self._undistorter is not None:
            return False
        ratio = (frame.image.shape[1] / frame.image.shape[0]) / self._aspect
        return max(ratio, 1 / ratio) > MAX_ASPECT_CHANGE

    def process(self, frames: Sequence[Frame], adopt: Sequence[int | None] | None = None) -> StepOutput:
        """Reconstruct one window of new frames, all of one submap and epoch (`split_window` sees to that).

        A frame that fails gives an output marked invalid with its reason; nothing is raised for bad input.
        """
        del adopt  # nothing is mapped beside
        corrections: list[MapCorrection] = []
        if self.starts_submap(frames[0]):
            corrections.append(self._new_submap(f"image shape changed at frame {frames[0].frame_id}"))
        if self._epoch is not None and frames[0].epoch != self._epoch:
            self._health.new_epoch()
        self._epoch = frames[0].epoch

        prepared, failures = self.prepare(frames)
        if not prepared:
            outputs = [failed_output(frame, self.submap, why) for frame, why in failures]
            return StepOutput(outputs, {}, {}, None, corrections, {DropCause.UNDISTORT_ERROR: len(failures)})
        assert self._resize is not None
        batch = np.stack([image for _, image, _, _ in prepared])
        try:
            window = self._session.step(
                batch.transpose(0, 3, 1, 2),
                [frame.frame_id for frame, *_ in prepared],
                _times_s(prepared),
                _camera_of(prepared),
                pixel_maps=None if self._undistorter is not None else [pixel_map for _, _, pixel_map, _ in prepared],
            )
        except Spark3rError:
            raise
        except Exception as error:  # out of memory, a broken kernel, no solution; the stream outlives the window
            log.exception("a window failed")
            self._health.update(float("nan"), None, False)
            reason = f"the model failed: {first_line(error)}"
            outputs = [failed_output(frame, self.submap, reason) for frame in frames]
            return StepOutput(outputs, {}, {}, None, corrections, {DropCause.MODEL_ERROR: len(frames)})

        confidence = [float(estimate.confidence.mean()) for estimate in window.frames if estimate.valid]
        state = self._health.update(
            float(np.mean(confidence)) if confidence else float("nan"),
            window.support_shift,
            bool(confidence),
            window.confirmed,
        )
        outputs = [
            self._output(frame, image, pixel_map, camera, estimate, window, state)
            for (frame, image, pixel_map, camera), estimate in zip(prepared, window.frames, strict=True)
        ]
        valid = [estimate.world_from_camera for estimate in window.frames if estimate.valid]
        if valid and self._health.consistent:
            self._last_good = valid[-1]
        outputs += [failed_output(frame, self.submap, why) for frame, why in failures]
        outputs.sort(key=lambda output: output.result.frame_id)
        images = {frame.frame_id: image for frame, image, _, _ in prepared}
        trust = {p[0].frame_id: e.confidence for p, e in zip(prepared, window.frames, strict=True)}
        support, admitted, evicted = window.support, window.admitted, window.evicted
        counted = {}
        if failures:
            counted[DropCause.UNDISTORT_ERROR] = len(failures)
        for estimate in window.frames:
            if not estimate.valid:
                cause = DropCause.NOT_FINITE if estimate.aligned else DropCause.NOT_ALIGNED
                counted[cause] = counted.get(cause, 0) + 1
        if state is TrackingState.LOST:
            corrections.append(self._new_submap("tracking was lost"))
        return StepOutput(outputs, images, trust, window, corrections, counted, support, admitted, evicted)

    def prepare_ahead(self, frame: Frame) -> Frame:
        """Nothing: windows of every frame wait for the network anyway."""
        return frame

    def finish(self, *, adjust_all: bool) -> StepOutput:
        """Nothing waits here."""
        del adjust_all
        return StepOutput([])

    def close(self) -> None:
        """Nothing runs beside."""

    def prepare(
        self, frames: Sequence[Frame]
    ) -> tuple[list[tuple[Frame, np.ndarray, np.ndarray, CameraView | None]], list[tuple[Frame, str]]]:
        """Undistort and resize; frames that do not fit the user's camera come back with the reason. `Frame.prepared` is
        the picture for /image/, empty where it is not published."""
        prepared, failures = [], []
        for frame in frames:
            image, camera = frame.image, None
            if self._undistorter is not None:
                try:
                    image, camera = self._undistorter(image)
                except Spark3rError as error:
                    failures.append((frame, str(error)))
                    continue
            if self._resize is None:
                self._resize = self._fit(image.shape[:2])
                self._aspect = image.shape[1] / image.shape[0]
            small, pixel_map = self._resize(image)
            jpeg = jpeg_of(image) if self.pictures else b""
            prepared.append((replace(frame, prepared=jpeg), small, pixel_map, camera))
        return prepared, failures

    def _fit(self, frame_hw: tuple[int, int]) -> StreamResize:
        native, patch_size = self.model.capabilities, self.model.patch_size
        if self._long_side is None and native.native_patches is not None:
            return StreamResize.fit_patches(frame_hw, native.native_patches, patch_size)
        return StreamResize.fit(frame_hw, self._long_side or native.native_long_side, patch_size)

    def _output(
        self,
        frame: Frame,
        image: np.ndarray,
        pixel_map: np.ndarray,
        given: CameraView | None,
        estimate: FrameEstimate,
        window: WindowResult,
        state: TrackingState,
    ) -> FrameOutput:
        result = replace(
            result_of(frame, self.submap),
            window_new=len(window.frames),
            window_size=len(window.frames) + len(window.support),
            model_ms=(window.step_ns - window.refine_ns) / 1e6,
            memory_bytes=window.memory_used_bytes,
            memory_limit_bytes=window.memory_limit_bytes,
        )
        if not estimate.valid:
            return failed(result, estimate.failure or "no estimate")
        height, width = estimate.depth.shape
        source_h, source_w = frame.image.shape[:2]
        jpeg = frame.prepared
        assert isinstance(jpeg, bytes), "frames come from `prepare`"
        if given is not None and self._undistorter is not None:
            camera, depth_k = self._undistorter.seen_by(source_w, source_h), pixel_map @ given.matrix
        else:
            depth_k = estimate.intrinsics
            camera = CameraView(np.linalg.inv(pixel_map) @ depth_k, source_w, source_h)
        points = colours = confidence = None
        if state is TrackingState.TRACKING:  # what may lie elsewhere must not enter a map
            points, colours, confidence = cloud_of(
                self.cloud, image, estimate.depth, estimate.confidence, depth_k, estimate.world_from_camera
            )
        return FrameOutput(
            result=replace(
                result,
                world_from_camera=estimate.world_from_camera,
                camera=camera,
                depth_camera=CameraView(depth_k, width, height, camera.rectified),
                state=state,
                state_reason=self._health.reason,
                confidence=float(estimate.confidence.mean()),
            ),
            depth=estimate.depth,
            points=points,
            colours=colours,
            point_confidence=confidence,
            map_from_submap=self._map_from_submap,
            jpeg=jpeg,
        )

    def _new_submap(self, reason: str) -> MapCorrection:
        """Forget the memory and go on in a new gauge, placed at the last good camera (its scale is a guess: 1)."""
        if self._last_good is not None:
            last = Sim3.from_matrix(self._last_good)
            self._map_from_submap = self._map_from_submap @ last
        self.submap += 1
        self._session = StreamSession(self.model, self.memory, refine=self._refine)
        self._health = HealthMonitor(self._health_config)
        self._resize, self._aspect, self._last_good = None, None, None
        return MapCorrection(self.submap, 0, self._map_from_submap, reason)


def _times_s(prepared: Sequence[tuple[Frame, np.ndarray, np.ndarray, CameraView | None]]) -> list[float]:
    """When the frames were taken: by the source's own stamps, which do not jitter, where it has them."""
    stamps = [frame.pts_ns for frame, *_ in prepared if frame.pts_ns is not None]
    if len(stamps) < len(prepared):
        stamps = [frame.captured_ns for frame, *_ in prepared]
    return [stamp / 1e9 for stamp in stamps]


def _camera_of(prepared: Sequence[tuple[Frame, np.ndarray, np.ndarray, CameraView | None]]) -> np.ndarray | None:
    """(3, 3) of the network input where the user gave the camera."""
    _, _, pixel_map, given = prepared[0]
    return None if given is None else pixel_map @ given.matrix
