"""What a run says of itself in its files: stats.json and its settings."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spark3r_stream.config import RunConfig
from spark3r_stream.engine.loop import AnyReconstructor
from spark3r_stream.engine.results import MapUnit
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.plain_text import unicode_text
from spark3r_stream.recording.comparison import Comparison
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.redact import redact_uri


def run_report(
    config: RunConfig,
    stats: RunStats,
    source: Source,
    reconstructor: AnyReconstructor,
    comparison: Comparison | None,
    files: Mapping[str, int],
    map_frame: str = "",
    unit: MapUnit | None = None,
) -> dict[str, Any]:
    """For stats.json. files: what the result files lack, see `FilesSink.counts`. map_frame, unit: the map that they are
    in and its unit, with several cameras."""
    import torch

    among = reconstructor.among_positions if isinstance(reconstructor, TrackingReconstructor) else None
    return {
        **stats.as_dict(),
        "latency_is": "capture to publication" if source.info.is_live else "window taken to publication",
        "source": {"kind": source.info.kind.value, "size": source.info.size, "fps": source.info.nominal_fps},
        "model": {
            "name": config.model,
            "weights_sha256": reconstructor.facts.weights_sha256,
            "input_hw": reconstructor.image_hw,
            "attention_dtype": reconstructor.facts.dtype,
        },
        "settings": settings_of(config),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch": str(torch.__version__),
            "torch_threads": torch.get_num_threads(),
        },
        **{name: count for name, count in files.items() if count},
        **({"map_frame": map_frame} if map_frame else {}),
        **({} if unit is None else {"unit": unit.as_dict()}),
        **({} if among is None else {"gps": among.as_dict()}),
        **({} if comparison is None else {"compared_with_recording": comparison.as_dict()}),
    }


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The settings as stored with results: plain values, no credentials."""
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    plain["source"] = redact_uri(config.source)
    for name in ("gyro", "odometry", "depth_images", "gps"):
        plain[name] = None if plain[name] is None else redact_uri(plain[name])
    return {k: unicode_text(v) if isinstance(v, str) else v for k, v in plain.items()}
