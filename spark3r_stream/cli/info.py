"""`spark3r cameras` and `spark3r models`: what is there."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def cameras_command() -> int:
    """One line per camera, with the URI that `spark3r run` takes."""
    from spark3r_stream.sources.camera import list_cameras

    found = list_cameras()
    if not found:
        print("no camera found")
    for camera in found:
        print(f"{camera.uri}  {camera.name}")
    return 0


def models_command() -> int:
    """A table of the registry. Licences are of the weights: some forbid commercial use."""
    from spark3r_core.models.registry import MODELS, find_weights

    table = Table(
        "model", "parameters", "licence of code", "licence of weights", "input", "tokens", "K/V per frame", "weights"
    )
    for name, spec in MODELS.items():
        where = find_weights(name)
        table.add_row(
            name,
            f"{spec.parameters / 1e6:.1f} M",
            spec.code_licence,
            spec.weights_licence,
            f"{spec.native_size[0]}x{spec.native_size[1]}",
            str(spec.tokens_per_frame),
            f"{spec.kv_bytes_per_frame / 1e6:.1f} MB",
            str(where) if where is not None else "not here",
        )
    Console().print(table)
    return 0
