"""`spark3r tag`: a tag to print, of true size, with its name and a ruler to check the printer by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.metric.tags import TagSpec, cells, tag_picture
from spark3r_stream.cli.printed import MOST_PIXELS, check_kind, check_new, write_page
from spark3r_stream.config import ConfigError

LEAST_DPI, MOST_DPI = 72, 1200
_INCH_M = 0.0254
_PDF_DPI = 1200  # cells end on whole dots of a printer
_RULER_M = (0.1, 0.05, 0.02, 0.01)


def tag_command(out: Path, tag: str, dpi: int) -> int:
    try:
        spec = TagSpec.parse(tag)
    except GeometryError as error:
        raise ConfigError(str(error)) from None
    check_kind(out)
    if not LEAST_DPI <= dpi <= MOST_DPI:
        raise ConfigError(f"--dpi is {dpi}; expected {LEAST_DPI} to {MOST_DPI}")
    check_new(out)
    dots = dpi if out.suffix.lower() == ".png" else _PDF_DPI
    write_page(out, _page(TagSpec(spec.family, spec.size_m, spec.tag_id or 0), dots), dots)
    print(f"{out}: tag {spec.family}, id {spec.tag_id or 0}, black square of {100 * spec.size_m:g} cm")
    print("print it at 100 % (no fit to page), measure the ruler below it, and glue it to something flat")
    print(f"then: spark3r run … --tag {spec.family}:{spec.size_m:g}")
    return 0


def _page(spec: TagSpec, dots: int) -> NDArray[np.uint8]:
    """(H, W), white around the tag for two of its cells at least, which a detector needs."""
    from PIL import Image, ImageDraw, ImageFont

    edge = spec.size_m / _INCH_M * dots
    count = cells(spec.family)
    side = round(edge)
    if side + 4 * edge / count > MOST_PIXELS or side < 4 * count:
        raise ConfigError(
            f"a tag of {spec.size_m:g} m has {side} pixels at {dots} dots per inch; expected {4 * count} to"
            f" {MOST_PIXELS}; choose another size, or with a PNG another --dpi"
        )
    margin, text = round(2 * edge / count), max(12, round(edge / 40))
    page = Image.new("L", (side + 2 * margin, side + 2 * margin + 4 * text), 255)
    bits = Image.fromarray(tag_picture(spec.family, spec.tag_id or 0, count))
    page.paste(bits.resize((side, side), Image.Resampling.NEAREST), (margin, margin))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(text)
    low = side + margin + round(edge / count)
    pen.text((margin, low), f"{spec.family} id {spec.tag_id or 0}: black square {100 * spec.size_m:g} cm", 0, font)
    ruler_m = next((one for one in _RULER_M if one <= spec.size_m), None)
    if ruler_m is not None:
        right, line = margin + round(ruler_m / _INCH_M * dots), low + 2 * text
        width = max(1, text // 12)
        pen.line([(margin, line), (right, line)], 0, width)
        for x in (margin, right):
            pen.line([(x, line - text // 3), (x, line + text // 3)], 0, width)
        pen.text((margin, line + text // 3), f"this line is {100 * ruler_m:g} cm long", 0, font)
    return np.asarray(page)
