"""The last words of a run: what was found, how sure it is, what was written, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from spark3r_stream.config import RunConfig
from spark3r_stream.engine.results import MapUnit
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.running.targets import RESULT_NAMES
from spark3r_stream.wire.messages import LengthUnit, TrackingState

_ENOUGH = 0.8  # share of frames that are TRACKING, below which a word is said


def closing_lines(config: RunConfig, stats: RunStats, was_stopped: bool, unit: MapUnit | None = None) -> list[str]:
    """One fact a line. was_stopped: before the end of its source. unit: where it is not what the run itself knows."""
    seconds = stats.uptime_ns() / 1e9
    ended = "stopped after" if was_stopped else "in"
    first = (
        f"{stats.processed_frames} frames reconstructed, {stats.lost} lost, {stats.mean_frames_per_second():.1f} FPS"
    )
    lines = [f"{first}, {ended} {seconds:.1f} s" if config.out is None else f"{first}; results in {config.out}"]
    lines += (
        _lost(stats)
        + _map(stats)
        + _unit(unit or stats.map_unit)
        + _states(stats)
        + _camera(config, stats)
        + _files(config)
    )
    return [*lines, f"next: {_next(config)}"]


def _lost(stats: RunStats) -> list[str]:
    drops = {cause.value: count for cause, count in stats.drops.total().items() if count}
    return [f"  lost: {', '.join(f'{count} {cause}' for cause, count in drops.items())}"] if drops else []


def _map(stats: RunStats) -> list[str]:
    if not stats.keyframes:
        return []
    dropped = f", {stats.keyframes_dropped} given up to keep to --map-memory" if stats.keyframes_dropped else ""
    return [f"  map: {stats.keyframes} keyframes, {stats.map_peak / 2**20:.1f} MiB{dropped}"]


def _unit(unit: MapUnit) -> list[str]:
    if unit.unit is LengthUnit.MODEL:
        return []
    up = ", z up" if unit.map_z_up else ""
    return [f"  unit: metres ± {unit.scale_std:.1%}, by {unit.scale_source}{up}"]


def _states(stats: RunStats) -> list[str]:
    total = sum(stats.state_windows.values())
    if not total:
        return []
    shares = {state: stats.state_windows.get(state.name, 0) / total for state in TrackingState}
    said = ", ".join(f"{state.name} {share:.0%}" for state, share in shares.items() if share)
    sure = shares[TrackingState.TRACKING] >= _ENOUGH
    return [f"  how sure: {said}" if sure else f"  how sure: {said}; poses that are not TRACKING are guesses"]


def _camera(config: RunConfig, stats: RunStats) -> list[str]:
    if stats.camera is None:
        return []
    fx, fy = np.diag(stats.camera.matrix)[:2]
    how = "as given" if config.camera_file is not None else "estimated; --camera takes a calibration"
    std = stats.camera.focal_std
    sigma = "" if std is None else f" ± {100 * std:.2g} %"
    size = f"{stats.camera.width}x{stats.camera.height}"
    return [f"  camera: {size}, focal length {(fx + fy) / 2:.0f} px{sigma} ({how})"]


def _files(config: RunConfig) -> list[str]:
    """Those that are there, each with its size."""
    single = [path for path in (config.record, None if config.localise else config.map) if path is not None]
    written = [f"{path} ({_size(path)})" for path in single if path.is_file()]
    if config.out is not None:
        results = [config.out / name for name in RESULT_NAMES]
        inside = ", ".join(f"{path.name} ({_size(path)})" for path in results if path.is_file())
        written.insert(0, f"in {config.out}: {inside}")
    return [f"  written: {line}" for line in written]


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{-(-size // 2**10)} KiB"


def _next(config: RunConfig) -> str:
    if config.out is not None:
        return f"spark3r view {shlex.quote(str(config.out))}"
    if config.record is not None:
        if config.record_only is not None:
            return f"spark3r run {shlex.quote(str(config.record))}, which makes the rest again"
        return f"spark3r view {shlex.quote(str(config.record))}"
    if config.map is not None:
        return f"spark3r export {shlex.quote(str(config.map))} --to colmap --out colmap"
    return "spark3r run … --out result, which keeps trajectory, points and a picture"
