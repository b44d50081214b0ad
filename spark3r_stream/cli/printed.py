"""Pages to print, of true size: a PNG with its resolution, or a PDF. A file that is there is never replaced."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark3r_stream.config import ConfigError
from spark3r_stream.errors import OutputError
from spark3r_stream.files import open_new, write_all

MOST_PIXELS = 20_000  # along an edge


def check_kind(out: Path) -> None:
    if out.suffix.lower() not in (".pdf", ".png"):
        raise ConfigError(f"{out} is neither a .pdf nor a .png file; a PDF prints in true size")


def check_new(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise OutputError(f"{out} is there already; name another file")


def write_page(out: Path, page: NDArray[np.uint8], dots_per_inch: float) -> None:
    """Write a page (H, W) of greys."""
    from PIL import Image

    data = io.BytesIO()
    if out.suffix.lower() == ".pdf":
        # Bilevel pages compress to nothing and stay sharp; every length follows from the resolution.
        Image.fromarray(page > 127).save(data, "PDF", resolution=dots_per_inch)
    else:
        Image.fromarray(page).save(data, "PNG", dpi=(dots_per_inch, dots_per_inch))
    try:
        with open_new(out) as file:
            write_all(file, data.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from error
