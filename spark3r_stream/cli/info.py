"""`spark3r cameras` and `spark3r models`: what is there."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from spark3r_core.errors import CheckpointError
from spark3r_stream.config import ConfigError
from spark3r_stream.plain_text import cleaned

if TYPE_CHECKING:
    from spark3r_core.models.registry import ModelSpec

PIPE_WIDTH = 100  # columns where no terminal says how wide it is


def table_console() -> Console:
    """Tables are as wide as the terminal, and without one as wide as `PIPE_WIDTH`."""
    console = Console(soft_wrap=False)
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def cameras_command() -> int:
    """One line per camera, with the URI that `spark3r run` takes."""
    from spark3r_stream.sources.camera import list_cameras

    found = list_cameras()
    if not found:
        print("no camera found")
    for camera in found:
        print(f"{camera.uri}  {cleaned(camera.name)}")
    return 0


def get_command(name: str | None, accept_licence: bool) -> int:
    """Licence, size and progress are on stderr."""
    from spark3r_core.models.hub import download

    if name is None:
        raise ConfigError("models get needs a name; `spark3r models` lists them")
    download(name, accept_licence, lambda line: print(line, file=sys.stderr))
    return 0


def models_command(name: str | None = None, as_json: bool = False) -> int:
    """A table of the registry, or of one model of it; JSON lines with `as_json`."""
    from spark3r_core.models import registry

    specs = list(registry.MODELS.values()) if name is None else [registry.model_spec(name)]
    if as_json:
        for spec in specs:
            print(json.dumps(_as_json(spec)))
        return 0
    table_console().print(_table(specs), highlight=False)
    try:
        place = (
            f"weights are looked for in {registry.weights_dir()} (${registry.WEIGHTS_DIR_VARIABLE} sets another place)"
        )
    except CheckpointError as error:
        place = str(error)
    print(f"\n{place}")
    for spec in specs:
        if (path := registry.find_weights(spec.name)) is not None:
            print(f"  {spec.name}: {path}")
    print("`spark3r models get NAME` fetches released weights; `spark3r models --fit` says what fits here")
    return 0


def _table(specs: list[ModelSpec]) -> Table:
    from spark3r_core.models.registry import BUNDLED, find_weights

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("model", "params", "licence of code", "licence of weights", "input", "tokens", "K/V", "weights"):
        is_number = column in ("params", "tokens", "K/V")
        table.add_column(column, justify="right" if is_number else "left", no_wrap="licence" not in column)
    for spec in specs:
        found = find_weights(spec.name) is not None
        table.add_row(
            spec.name,
            f"{spec.parameters / 1e6:,.1f} M",
            spec.code_licence,
            spec.weights_licence,
            f"{spec.native_size[0]}x{spec.native_size[1]}",
            f"{spec.tokens_per_frame:,}",
            f"{spec.kv_bytes_per_frame / 1e6:.1f} MB",
            ("packaged" if spec.name == BUNDLED else "here") if found else "no",
        )
    table.caption = "input: for a 4:3 picture; tokens and K/V (bfloat16): of one frame"
    table.caption_justify = "left"
    return table


def _as_json(spec: ModelSpec) -> dict[str, Any]:
    from spark3r_core.models.registry import find_weights

    names = (
        "name", "family", "parameters", "code_licence", "weights_licence", "is_noncommercial", "native_size",
        "tokens_per_frame", "kv_bytes_per_frame", "hub_id", "file_name",
    )  # fmt: skip
    found = find_weights(spec.name)
    return {name: getattr(spec, name) for name in names} | {"weights": None if found is None else str(found)}
