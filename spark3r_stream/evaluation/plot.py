"""Two matched trajectories as a picture: both paths from above, and the errors over time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from spark3r_stream.errors import OutputError
from spark3r_stream.evaluation.compare import Compared
from spark3r_stream.files import write_whole


def plot_compared(compared: Compared, names: tuple[str, str], path: Path) -> None:
    """A PNG at `path`. Raises OutputError where it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    estimate, reference = compared.estimate.centres, compared.reference.centres
    figure = Figure(figsize=(11, 5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, over_time = figure.subplots(1, 2)
    # The plane that the reference spreads in most, whichever way its axes point.
    _, _, axes = np.linalg.svd(reference - reference.mean(0), full_matrices=False)
    for centres, colour, name in ((reference, "#888888", names[1]), (estimate, "#d62728", names[0])):
        seen = (centres - reference.mean(0)) @ axes[:2].T
        above.plot(*seen.T, color=colour, label=name, linewidth=1.2)
        above.plot(*seen[0], "o", color=colour, markersize=4)
    above.set_aspect("equal", "datalim")
    above.set_xlabel("units of the reference, in the plane of its path; dots: the beginning")
    above.legend(loc="best", fontsize=8)
    seconds = (compared.reference.time_ns - compared.reference.time_ns[0]) / 1e9
    over_time.plot(seconds, np.linalg.norm(estimate - reference, axis=1) / (compared.spread or 1.0), color="#d62728")
    over_time.axhline(compared.ate, color="#888888", linestyle="--", linewidth=1, label=f"ATE {compared.ate:.4f}")
    over_time.set_xlabel("seconds")
    over_time.set_ylabel("distance over the path's spread")
    over_time.set_ylim(bottom=0)
    over_time.legend(loc="best", fontsize=8)
    figure.suptitle(
        f"{compared.poses} poses, rotation over {compared.apart_s:g} s: {compared.rotation_deg:.2f} deg (median)",
        fontsize=10,
    )
    data = io.BytesIO()
    canvas.print_png(data)
    try:
        write_whole(path, data.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
