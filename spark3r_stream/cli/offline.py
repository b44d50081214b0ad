"""`spark3r reconstruct` and `spark3r probe`: all frames of a source at once, with token reduction."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from spark3r_stream.cli.run import build_reconstructor
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.errors import EndOfStream
from spark3r_stream.frame import Frame
from spark3r_stream.frame_cloud import CloudConfig, cloud_of
from spark3r_stream.messages import CameraView, FrameOutput, FrameResult
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.sources.open import open_source
from spark3r_stream.sources.options import SourceOptions


def read_frames(config: RunConfig) -> tuple[list[Frame], dict[str, int]]:
    """All frames of a finite source, and what was lost of it by cause; ConfigError for a live one without --max-frames.

    The source's notes go to stderr.
    """
    source = open_source(config.source, SourceOptions(), SystemClock())
    try:
        if source.info.is_live and config.max_frames is None:
            raise ConfigError(f"{source.info.name} is live and has no end; give --max-frames")
        for note in source.info.notes:
            print(f"spark3r: note: {note}", file=sys.stderr)
        frames: list[Frame] = []
        while config.max_frames is None or len(frames) < config.max_frames:
            try:
                frames.append(source.read())
            except EndOfStream:
                break
        return frames, {cause.value: count for cause, count in source.drops.total().items()}
    finally:
        source.close()


def reconstruct_command(config: RunConfig, reduction: str, out: Path) -> int:
    """Reconstruct all frames jointly and write the same files as a stream does."""
    from spark3r_core.offline import reconstruct
    from spark3r_core.tokens.schedule import Reduction

    config = replace(config, out=out)
    config.check()
    frames, dropped = read_frames(config)
    mapper = build_reconstructor(config)
    prepared, failures = mapper.prepare(frames)
    if failures:
        raise ConfigError(failures[0][1])
    presets = {"spark3r": Reduction.spark3r, "dense": Reduction.dense, "kv-stride": Reduction.kv_stride_only}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        tasks: dict[str, int] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total or len(frames))
            progress.update(tasks[stage], completed=done)  # type: ignore[arg-type]

        images = (image for _, image, _, _ in prepared)
        result = reconstruct(mapper.model, images, presets[reduction](), progress=report)
    writer = ResultWriter(out, config.max_points, config.save_depth)
    for i, (frame, image, pixel_map, camera) in enumerate(prepared):
        depth_k = result.intrinsics[i] if camera is None else pixel_map @ camera.matrix
        source_k = np.linalg.inv(pixel_map) @ depth_k
        height, width = result.depth[i].shape
        confidence = result.confidence[i].astype(np.float32)
        points, colours, trust = cloud_of(
            CloudConfig(), image, result.depth[i], confidence, depth_k, result.world_from_camera[i]
        )
        output = FrameOutput(
            FrameResult(
                frame_id=frame.frame_id,
                source_id=frame.source_id,
                epoch=0,
                submap=0,
                captured_ns=frame.captured_ns,
                published_ns=0,
                world_from_camera=result.world_from_camera[i],
                camera=CameraView(source_k, frame.image.shape[1], frame.image.shape[0]),
                depth_camera=CameraView(depth_k, width, height),
                confidence=float(confidence.mean()),
            ),
            result.depth[i],
            points,
            colours,
            trust,
        )
        writer.add(output, frame.image, confidence)
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
    print(f"{len(frames)} frames in {seconds['total']:.1f} s, {lost} lost; results in {out}", file=sys.stderr)
    return 0


def probe_command(config: RunConfig, save: Path | None) -> int:
    """Print which global layers are sensitive; save the table when asked."""
    import torch

    from spark3r_core.probe import probe_sensitivity

    mapper = build_reconstructor(config)
    prepared, failures = mapper.prepare(read_frames(config)[0])
    if failures:
        raise ConfigError(failures[0][1])
    images = torch.from_numpy(np.stack([image for _, image, _, _ in prepared]).transpose(0, 3, 1, 2))
    table = probe_sensitivity(mapper.model, [images])
    for layer, ratio in enumerate(table.ratios):
        print(f"global layer {layer:>2}: error x {ratio:.3f}{'  sensitive' if layer in table.sensitive else ''}")
    if save is not None:
        table.save(save)
    return 0
