"""Maps of one world from above, a panel per seed: the true way, with loops closed, without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.evaluation import metrics
from tools.evaluation.map_streams import MapStream
from tools.evaluation.tracked_run import TrackedRun

Array = NDArray[np.float64]
COLUMNS = 5


@dataclass(frozen=True)
class Panel:
    """One seed. truth: (n, 2) from above. ways: by label, frame ids and (m, 2) after one Sim(3). loops: of `ways`' last
    one. began: the first frame after a loss."""

    seed: int
    truth: Array
    ways: dict[str, tuple[list[int], Array]]
    loops: list[tuple[int, int]]
    began: int | None


def panel(stream: MapStream, on: TrackedRun, off: TrackedRun | None, loops: list[tuple[int, int]]) -> Panel:
    ways = {}
    for name, run in (("loops off", off), ("loops on", on)):
        final = {} if run is None else run.collected.final()
        ids = [i for i in sorted(final) if not stream.dark[i]]
        if len(ids) >= 3:
            error, aligned = metrics.ate(np.stack([final[i] for i in ids]), stream.truth[ids])
            ways[f"{name}: {error['of_path']:.2%}"] = ids, aligned[:, [0, 2], 3]
    return Panel(stream.seed, stream.truth[:, [0, 2], 3], ways, loops, stream.began)


def draw(path: Path, name: str, panels: list[Panel]) -> None:
    """All seeds of one world, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3 * columns, 3.1 * rows), squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, one in zip(grid.ravel(), panels, strict=False):
        axes.plot(*one.truth.T, color="0.6", lw=3, label="truth")
        for (label, (ids, way)), colour in zip(one.ways.items(), _colours(one), strict=True):
            axes.plot(*way.T, color=colour, lw=1, label=label)
            at = dict(zip(ids, way, strict=True))
        if one.began is not None:
            axes.plot(*one.truth[one.began], "ko", ms=4, label="after the loss")
        for a, b in one.loops if one.ways else []:
            if a in at and b in at:
                axes.plot(*np.stack([at[a], at[b]]).T, color="tab:green", lw=0.7)
        axes.set_aspect("equal", "datalim")
        axes.legend(fontsize=6, loc="lower left")
        axes.set_title(f"{name} {one.seed}: {len(one.loops)} loops", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _colours(one: Panel) -> list[str]:
    return ["tab:red", "tab:blue"][-len(one.ways) :] if one.ways else []
