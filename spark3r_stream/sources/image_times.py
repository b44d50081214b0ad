"""When the images of a folder were taken: timestamps.txt, names that are times, or a frame rate."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from spark3r_stream.errors import SourceError
from spark3r_stream.sources.timing import NS_PER_S

DEFAULT_FPS = 30.0
_NS_PER_UNIT = {"seconds": NS_PER_S, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
# Unix times from 1990 to 2100: what a clock can have shown when the images were taken.
_UNIX_S = range(631_152_000, 4_102_444_800)
_MAX_STEP_S = 3600  # a longer one in seconds is a smaller unit
_MAX_NS = 2**62


@dataclass(frozen=True)
class ImageTimes:
    """times_ns: one per image, as they were written (Unix times stay Unix times), or from 0 by a frame rate.

    fps: the mean rate. notes: for the user, one line each.
    """

    times_ns: tuple[int, ...]
    fps: float
    notes: tuple[str, ...]


def times_of(folder: Path, images: Sequence[Path], fps: float | None) -> ImageTimes:
    """Times of `images`, in order: from timestamps.txt in `folder` or its parent, else from names that are times, else
    one every 1/fps s (default 30). A file that does not fit is noted and not used."""
    rate, notes = fps or DEFAULT_FPS, list[str]()
    fallback = f"using {rate:g} frames per second"
    found: list[int] | None = None
    for path in (folder / "timestamps.txt", folder.parent / "timestamps.txt"):
        if found is not None or not path.is_file():
            continue
        try:
            times, unit = read_timestamps(path)
        except (SourceError, OSError) as error:
            notes.append(f"{error}; {fallback}")
            continue
        if len(times) != len(images):
            notes.append(f"{path} has {len(times)} times for {len(images)} images; {fallback}")
            continue
        found = times
        if unit != "seconds":
            notes.append(f"{path} is taken as {unit}")
    if found is None and not notes:
        named = times_in_names(images)
        if named is not None:
            found, unit = named
            notes.append(f"{folder}: the names of the images are taken as times in {unit}")
    if found is None:
        return ImageTimes(tuple(round(i * NS_PER_S / rate) for i in range(len(images))), rate, tuple(notes))
    if fps is not None:
        notes.append(f"the images have times of their own; {fps:g} frames per second is not used")
    span_ns = found[-1] - found[0]
    mean_fps = (len(found) - 1) * NS_PER_S / span_ns if span_ns else rate
    return ImageTimes(tuple(found), mean_fps, tuple(notes))


def read_timestamps(path: Path) -> tuple[list[int], str]:
    """Nanoseconds, and the unit that was found, of a file with one time at the start of each line (# comments).

    The unit is seconds, unless only a smaller one makes sense (EuRoC writes nanoseconds). Raises SourceError naming
    the line when one is not a number or not later than the one before.
    """
    values: list[Decimal] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        try:
            # Decimal: Unix seconds with nanoseconds do not fit into a float
            value = Decimal(text.replace(",", " ").split()[0])
        except (InvalidOperation, IndexError):
            value = Decimal("nan")
        if not value.is_finite() or value.copy_abs() >= _MAX_NS:
            raise SourceError(f"{path} line {number}: {text[:40]!r} is not a time")
        if values and value <= values[-1]:
            raise SourceError(f"{path} line {number}: times must increase")
        values.append(value)
    unit = unit_of(values)
    if unit is None:
        raise SourceError(f"{path}: times from {values[0]} to {values[-1]} make no sense in seconds or a smaller unit")
    return [int(value * _NS_PER_UNIT[unit]) for value in values], unit


def times_in_names(images: Sequence[Path]) -> tuple[list[int], str] | None:
    """Nanoseconds and unit, if every name is a time: Unix time in any unit, or seconds with a decimal point."""
    stems = [path.stem for path in images]
    if len(stems) < 2 or not all(re.fullmatch(r"\d+(\.\d+)?", stem) for stem in stems):
        return None
    values = [Decimal(stem) for stem in stems]
    unit = _unix_unit(values) or ("seconds" if all("." in stem for stem in stems) else None)
    if unit is None or any(b <= a for a, b in itertools.pairwise(values)) or values[-1] > _MAX_NS:
        return None
    return [int(value * _NS_PER_UNIT[unit]) for value in values], unit


def unit_of(values: Sequence[Decimal]) -> str | None:
    """The unit of increasing times: the one in which they are Unix times; else seconds, or if those are hours apart the
    smaller unit that is nearest to a video's rate. None if the times do not fit into 64 bits of nanoseconds."""
    if not values:
        return "seconds"
    steps = [b - a for a, b in itertools.pairwise(values)]
    unit = _unix_unit(values) or "seconds"
    step = statistics.median(steps) if steps else Decimal(0)
    if unit == "seconds" and step > _MAX_STEP_S and all(v == v.to_integral_value() for v in values):
        unit = min(
            ("milliseconds", "microseconds", "nanoseconds"),
            key=lambda name: abs((step * _NS_PER_UNIT[name] * 30 / NS_PER_S).ln()),
        )
    scale = _NS_PER_UNIT[unit]
    return unit if max(abs(values[0]), abs(values[-1])) < Decimal(_MAX_NS) / scale else None


def _unix_unit(values: Sequence[Decimal]) -> str | None:
    for name, ns in _NS_PER_UNIT.items():
        seconds = (int(values[0] * ns) // NS_PER_S, int(values[-1] * ns) // NS_PER_S)
        if all(s in _UNIX_S for s in seconds):
            return name
    return None
