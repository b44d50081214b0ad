"""`spark3r reconstruct` and `spark3r probe`: all frames of a source at once, with token reduction."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from spark3r_core.geometry.camera import with_square_pixels
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import ConfigError, RunConfig, option_name
from spark3r_stream.engine.frame_cloud import CloudConfig, cloud_of
from spark3r_stream.engine.reconstructor import Reconstructor
from spark3r_stream.engine.results import result_of
from spark3r_stream.errors import EndOfStream
from spark3r_stream.files import write_whole
from spark3r_stream.frame import Frame
from spark3r_stream.outputs.result_writer import ResultWriter, thumbnail
from spark3r_stream.plain_text import cleaned
from spark3r_stream.running.build import build_reconstructor
from spark3r_stream.running.targets import check_table, check_targets
from spark3r_stream.sources.open import open_source
from spark3r_stream.sources.options import ReconnectOptions, RtspTransport, SourceOptions
from spark3r_stream.wire.messages import CameraView, FrameOutput, FrameResult

# What a joint reconstruction has no use for: it publishes and keeps nothing on the way, and has no attention memory.
_OF_STREAMS = (
    "others", "publish", "record", "record_only", "images", "metrics", "map", "localise", "map_memory", "overwrite",
    "view", "json", "keys", "insecure", "pace", "window", "memory", "fill", "eviction", "track", "loops", "refine",
    "gyro", "gyro_offset", "gyro_axes", "odometry", "odometry_offset", "tag", "tag_up", "tag_origin", "camera_height",
    "baseline", "distance", "depth_images", "depth_scale", "depth_offset", "gps", "gps_frame", "gps_offset",
    "gps_clock", "rig", "topics", "rate", "depth_every", "cloud_voxel", "low_latency", "mesh",
)  # fmt: skip
_OF_RESULTS = ("out", "save_depth", "max_points")


def refuse_ignored(command: str, config: RunConfig, ignored: Sequence[str]) -> None:
    """ConfigError for an option that was given and that the command would ignore."""
    plain = RunConfig(source=config.source)
    if config.others:
        raise ConfigError(f"{command} takes one source; found {len(config.others)} more")
    for name in ignored:
        value = getattr(config, name)
        if value != getattr(plain, name):
            given = "" if value is True else f" {value}"
            raise ConfigError(f"{option_name(name)}{given} means nothing to {command}; leave it away")


@dataclass(frozen=True)
class KeptFrame:
    """What is needed of a frame until all are reconstructed; its own image, which may be large, is let go.

    result: says so far only which frame it is. source_hw: of the frame as it came. thumbnail: of it, for preview.png.
    image: (h, w, 3) uint8 at network size. pixel_map, camera: as `Reconstructor.prepare` gives them.
    """

    result: FrameResult
    source_hw: tuple[int, int]
    thumbnail: np.ndarray
    image: np.ndarray
    pixel_map: np.ndarray
    camera: CameraView | None


def read_frames(config: RunConfig) -> tuple[list[KeptFrame], dict[str, int], Reconstructor]:
    """All frames of a finite source, what was lost of it by cause, and the reconstructor that prepared them.

    The source's notes go to stderr. Raises ConfigError for a live source without --max-frames and for frames that do
    not fit the user's camera.
    """
    options = SourceOptions(
        live=config.live or None,
        images_fps=config.fps,
        rtsp_transport=RtspTransport(config.rtsp_transport),
        reconnect=ReconnectOptions(max_restarts=config.max_restarts),
    )
    with contextlib.closing(open_source(config.source, options, SystemClock())) as source:
        if source.info.is_live and config.max_frames is None:
            raise ConfigError(f"{source.info.name} is live and has no end; give --max-frames")
        for note in source.info.notes:
            print(f"spark3r: note: {cleaned(note)}", file=sys.stderr)
        mapper = build_reconstructor(replace(config, track="off"))
        assert isinstance(mapper, Reconstructor)
        frames: list[KeptFrame] = []
        while config.max_frames is None or len(frames) < config.max_frames:
            try:
                frames.append(_kept(source.read(), mapper))
            except EndOfStream:
                break
        return frames, {cause.value: count for cause, count in source.drops.total().items()}, mapper


def _kept(frame: Frame, mapper: Reconstructor) -> KeptFrame:
    prepared, failures = mapper.prepare([frame])
    if failures:
        raise ConfigError(failures[0][1])
    ((_, image, pixel_map, camera),) = prepared
    height, width = frame.image.shape[:2]
    small = thumbnail(frame.image)
    return KeptFrame(result_of(frame, submap=0), (height, width), small, image, pixel_map, camera)


def reconstruct_command(config: RunConfig, reduction: str, out: Path) -> int:
    """Reconstruct all frames jointly and write the same files as a stream does."""
    from spark3r_core.offline.reconstruct import reconstruct
    from spark3r_core.tokens.schedule import Reduction

    refuse_ignored("reconstruct", config, _OF_STREAMS)
    config = replace(config, out=out)
    config.check()
    check_targets(config)
    frames, dropped, mapper = read_frames(config)
    presets = {"spark3r": Reduction.spark3r, "dense": Reduction.dense, "kv-stride": Reduction.kv_stride_only}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        tasks: dict[str, int] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total or len(frames))
            progress.update(tasks[stage], completed=done)  # type: ignore[arg-type]

        images = (frame.image for frame in frames)
        result = reconstruct(mapper.model, images, presets[reduction](), progress=report)
    writer = ResultWriter(out, config.max_points, config.save_depth)
    for i, frame in enumerate(frames):
        if frame.camera is None:
            depth_k = with_square_pixels(result.intrinsics[i], frame.pixel_map)
        else:
            depth_k = frame.pixel_map @ frame.camera.matrix
        source_k = np.linalg.inv(frame.pixel_map) @ depth_k
        height, width = result.depth[i].shape
        confidence = result.confidence[i].astype(np.float32)
        points, colours, trust = cloud_of(
            CloudConfig(), frame.image, result.depth[i], confidence, depth_k, result.world_from_camera[i]
        )
        output = FrameOutput(
            replace(
                frame.result,
                world_from_camera=result.world_from_camera[i],
                camera=CameraView(source_k, frame.source_hw[1], frame.source_hw[0]),
                depth_camera=CameraView(depth_k, width, height),
                confidence=float(confidence.mean()),
            ),
            result.depth[i],
            points,
            colours,
            trust,
        )
        writer.add(output, frame.thumbnail, confidence)
    seconds = {stage: round(value, 3) for stage, value in result.seconds.items()}
    stats = {
        "frames": len(frames),
        "dropped": dropped,
        "model": {"name": config.model, "weights_sha256": mapper.model.weights_sha256, "input_hw": mapper.image_hw},
        "reduction": reduction,
        "seconds": seconds,
        "peak_bytes": result.peak_bytes,
    }
    writer.close(stats)
    lost = sum(dropped.values())
    print(f"{len(frames)} frames in {seconds['total']:.1f} s, {lost} lost; results in {cleaned(out)}", file=sys.stderr)
    return 0


def probe_command(config: RunConfig, save: Path | None) -> int:
    """Print which global layers are sensitive; save the table when asked."""
    import torch

    from spark3r_core.offline.probe import probe_sensitivity

    refuse_ignored("probe", config, (*_OF_STREAMS, *_OF_RESULTS))
    config.check()
    if save is not None:
        check_table(save)
    frames, _, mapper = read_frames(config)
    images = torch.from_numpy(np.stack([frame.image for frame in frames]).transpose(0, 3, 1, 2))
    table = probe_sensitivity(mapper.model, [images])
    for layer, ratio in enumerate(table.ratios):
        print(f"global layer {layer:>2}: error x {ratio:.3f}{'  sensitive' if layer in table.sensitive else ''}")
    if save is not None:
        write_whole(save, table.as_json().encode())
    return 0
