"""`spark3r models --fit`: whether a model fits this machine, before a run: its bytes, and about how fast it is.

Bytes are counted (`spark3r_core.stream.keyframe_cost`). Speed is measured once, with two networks, and kept in the
user's cache folder together with what it depends on.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from rich import box
from rich.table import Table

import spark3r_stream
from spark3r_core.models.registry import BUNDLED, MODELS, find_weights, model_spec
from spark3r_core.stream.keyframe_cost import KeyframeCost, keyframe_cost, operations_per_second
from spark3r_core.user_paths import cache_dir
from spark3r_stream.cli.info import table_console
from spark3r_stream.files import write_whole
from spark3r_stream.running.build import device_of, dtype_of

REFERENCE = "da3-small"  # the speed of larger models is read off this one's
# of the tensors' bytes: what bundled, da3-small and da3-base took on a CPU was 1.3 to 1.55 times as much
ALLOWANCE = 1.5
CGROUP = Path("/sys/fs/cgroup")
GIB = 2**30


@dataclass(frozen=True)
class Fit:
    """cost: counted. needed_bytes: with the allowance. free_bytes: of the device now. keyframes_per_second: of the
    network alone, with a full memory; matching and adjustment come on top."""

    name: str
    cost: KeyframeCost
    needed_bytes: int
    free_bytes: int
    keyframes_per_second: float

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.free_bytes


def fit_command(name: str | None, device_name: str, as_json: bool) -> int:
    """0, or 1 where one model was asked for and does not fit."""
    names = list(MODELS) if name is None else [model_spec(name).name]
    device = device_of(device_name)
    dtype = dtype_of("auto", device)
    known = _Known(device, dtype)
    free = free_bytes(device)
    fits = [_fit(each, known, free) for each in names]
    if as_json:
        for fit in fits:
            print(json.dumps({**asdict(fit), "fits": fit.fits, "device": device, "dtype": known.dtype_name}))
    else:
        _print(fits, known, free)
    return int(name is not None and not fits[0].fits)


def free_bytes(device: str) -> int:
    """Memory that a run could have now: of the GPU, or of the machine, the limit of a container included."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    try:
        left = int((CGROUP / "memory.max").read_text()) - int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # another system, or "max"
        return free
    return min(free, left)


def _fit(name: str, known: _Known, free: int) -> Fit:
    cost = known.cost(name)
    rate = known.operations_per_second(BUNDLED if name == BUNDLED else REFERENCE)
    return Fit(name, cost, int(ALLOWANCE * cost.total_bytes), free, rate / cost.operations)


def _print(fits: list[Fit], known: _Known, free: int) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("model", "weights", "K/V", "work", "needs about", "fits", "keyframes/s", "here"):
        table.add_column(column, justify="left" if column in ("model", "fits", "here") else "right", no_wrap=True)
    for fit in fits:
        sizes = (fit.cost.weights_bytes, fit.cost.memory_bytes, fit.cost.work_bytes, fit.needed_bytes)
        fps = fit.keyframes_per_second
        table.add_row(
            fit.name,
            *(f"{size / GIB:.2f} GiB" for size in sizes),
            "yes" if fit.fits else "no",
            f"{fps:.1f}" if fps >= 1 else f"{fps:.2g}",
            "no" if find_weights(fit.name) is None else "yes",
        )
    table_console().print(table, highlight=False)
    print(f"{known.machine}, {known.dtype_name}: {free / GIB:.1f} GiB free now")
    print(
        f"needs about: {ALLOWANCE:g} times what tensors take. keyframes/s: of the network alone; measured for {BUNDLED}"
        f" and {REFERENCE}, for the others read off {REFERENCE} by the number of operations"
    )
    print(f"kept in {known.path}; remove it to measure again" if known.path else "measured, and kept nowhere: no home")


class _Known:
    """Costs and speeds by model: from the cache where it was made on this machine with these versions, else found out
    now and kept there."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self.dtype_name = str(dtype).removeprefix("torch.")
        self.machine = _machine(device)
        folder = cache_dir()
        self.path = None if folder is None else folder / f"fit_{device.replace(':', '_')}.json"
        self._device, self._dtype = device, dtype
        self._made_with = {
            "machine": self.machine,
            "dtype": self.dtype_name,
            "torch": str(torch.__version__),
            "spark3r_stream": spark3r_stream.__version__,
        }
        self._costs: dict[str, KeyframeCost] = {}
        self._rates: dict[str, float] = {}
        self._read()

    def cost(self, name: str) -> KeyframeCost:
        if name not in self._costs:
            self._costs[name] = keyframe_cost(name, self._dtype)
            self._write()
        return self._costs[name]

    def operations_per_second(self, name: str) -> float:
        if name not in self._rates:
            print(f"measuring {name}, once", file=sys.stderr, flush=True)
            self._rates[name] = operations_per_second(name, self._device, self._dtype)
            self._write()
        return self._rates[name]

    def _read(self) -> None:
        if self.path is None:
            return
        try:
            kept: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["made_with"] == self._made_with:
                self._costs = {name: KeyframeCost(**cost) for name, cost in kept["costs"].items()}
                self._rates = {name: float(rate) for name, rate in kept["operations_per_second"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none yet, or not ours: made anew
            self._costs, self._rates = {}, {}

    def _write(self) -> None:
        if self.path is None:
            return
        kept = {
            "made_with": self._made_with,
            "costs": {name: asdict(cost) for name, cost in self._costs.items()},
            "operations_per_second": self._rates,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(kept, indent=1).encode())
        except OSError:  # a read-only home: measured again the next time
            self.path = None


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
