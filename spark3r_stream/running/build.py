"""The model of a run, with its memory and camera, from the settings. Imports torch, when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import read_camera
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.user_paths import expand_home
from spark3r_stream.config import ConfigError, RunConfig, parse_bytes
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.scheduler import most_new_frames
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.sources.open import is_surely_a_file

if TYPE_CHECKING:
    from spark3r_core.models.interface import Backbone
    from spark3r_stream.engine.mapper_process import MapperProcess, ModelChoice
    from spark3r_stream.engine.reconstructor import Reconstructor
    from spark3r_stream.engine.shared_mapper import SharedMapper


def build_reconstructor(
    config: RunConfig,
    camera: Intrinsics | None = None,
    max_new_frames: int | None = None,
    mapper: MapperProcess | None = None,
    reopening: Reopening | None = None,
    host: MapperHost | None = None,
    first_submap: int = 0,
) -> Reconstructor | TrackingReconstructor:
    """Model, memory and camera from the settings. Imports torch.

    camera: instead of the file of the settings. max_new_frames: instead of what the window rule gives for the source.
    mapper: where keyframes are mapped on a CPU; None: in this process. reopening: a saved map to go on in. host: what
    maps, where the model is loaded already. first_submap: see `TrackingReconstructor`.
    """
    if camera is None and config.camera_file is not None:
        camera = read_camera(expand_home(config.camera_file))
    if host is not None:
        return TrackingReconstructor(
            host, config.size, camera, reopening=reopening, metric=config.metric, first_submap=first_submap
        )
    device = device_of(config.device)
    if config.track == "on":
        memory, dtype, options = memory_of(config, 1), dtype_of(config.dtype, device), map_options_of(config)
        if mapper is not None and device == "cpu":
            mapper.load(_choice(config, device, dtype), memory, options)
            found: MapperHost = mapper
        else:
            from spark3r_stream.engine.local_mapper import LocalMapper

            found = LocalMapper(model_of(config, device, dtype), memory, options)
        return TrackingReconstructor(found, config.size, camera, reopening=reopening, metric=config.metric)
    from spark3r_stream.engine.reconstructor import Reconstructor

    if max_new_frames is None:
        max_new_frames = most_new_frames(None if config.window == "auto" else int(config.window), is_file(config))
    memory = memory_of(config, max_new_frames)
    model = model_of(config, device, dtype_of(config.dtype, device))
    refine = None if config.refine == "auto" else config.refine == "on"
    return Reconstructor(model, memory, config.size, camera, refine=refine)


def build_shared_mapper(config: RunConfig, streams: int, process: MapperProcess | None) -> SharedMapper:
    """One model for so many streams, each with a map and a memory of its own. process: where it maps on a CPU; None: in
    this process. Imports torch."""
    from spark3r_stream.engine.shared_mapper import LocalMappers, SharedMapper

    device = device_of(config.device)
    dtype, options, memory = dtype_of(config.dtype, device), map_options_of(config), memory_of(config, 1)
    if process is not None and device == "cpu":
        process.load(_choice(config, device, dtype), memory, options, streams)
        return SharedMapper(process)
    return SharedMapper(LocalMappers(model_of(config, device, dtype), memory, options, streams))


def memory_of(config: RunConfig, max_new_frames: int) -> MemoryConfig:
    return MemoryConfig(
        max_bytes=None if config.memory is None else parse_bytes(config.memory),
        fill=config.fill,
        eviction=config.eviction,
        max_new_frames=max_new_frames,
    )


def model_of(config: RunConfig, device: str, dtype: Any) -> Backbone:
    from spark3r_core.models.registry import load_model

    return load_model(config.model, device=device, dtype=dtype, weights=config.weights)


def map_options_of(config: RunConfig) -> MapOptions:
    return MapOptions(closes_loops=config.loops == "on", max_bytes=parse_bytes(config.map_memory))


def _choice(config: RunConfig, device: str, dtype: Any) -> ModelChoice:
    """What a mapping process loads: weights found, or missed, by this process's environment."""
    import torch

    from spark3r_core.models.registry import BUNDLED, weights_file
    from spark3r_stream.engine.mapper_process import ModelChoice

    weights: Path | str | None = config.weights
    if weights != "random" and (weights is not None or config.model != BUNDLED):
        weights = weights_file(config.model, weights)
    return ModelChoice(config.model, device, dtype, weights, torch.get_num_threads())


def is_file(config: RunConfig) -> bool:
    """Whether the source is certain to wait for its reader, before it is open."""
    return config.pace == "fast" and not config.live and is_surely_a_file(config.source)


def device_of(name: str) -> str:
    """torch's name of the device; ConfigError, before anything is loaded, for one that this machine cannot use."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name} cannot be used: {reason}; cpu works everywhere") from None
    return name


def dtype_of(name: str, device: str) -> Any:
    import torch

    from spark3r_core.models.processor import cpu_has_bfloat16

    if name != "auto":
        return getattr(torch, name)
    if device != "cpu":
        return torch.bfloat16
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32
