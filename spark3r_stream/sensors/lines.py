"""Lines of text with a time and numbers: what sensors are read from, as a file or as messages.

    1700000000.250,0.012,-0.401,0.003        seconds, with a point or without
    1700000000250000000 0.012 -0.401 0.003   nanoseconds: whole numbers from 10^11 on

Commas, semicolons, spaces and tabs separate. What follows a # is a comment, and a first line without a number is a
heading. Further columns are ignored. A message may be JSON instead, where a sensor's names for its numbers are known.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_stream.errors import SensorError
from spark3r_stream.plain_text import cleaned

MAX_FILE_BYTES = 512 << 20
LEAST_NANOSECONDS = 10**11
MOST_TIME_NS = 2**62
MOST_VALUE = 1e15  # in any unit; sums and products of some such numbers are still finite
_SEPARATORS = re.compile(r"[,;\s]+")


class Rows(NamedTuple):
    """times_ns: (N,) int64, rising. values: (N, columns) float64."""

    times_ns: NDArray[np.int64]
    values: NDArray[np.float64]


def read_rows(path: Path, columns: int, expected: str, optional: int = 0) -> Rows:
    """All rows of a file, in the order of time. expected: what a line has, in words. optional: see `parse_line`.

    Raises SensorError naming file and line.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SensorError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB; cut it to the time of the pictures")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SensorError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SensorError(f"{path} is not text; expected lines of {expected}") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            row = parse_line(line, columns, optional)
        except ValueError as error:
            if number == 1 and not re.search(r"(?<![\w])\d", line):
                continue
            raise SensorError(f"{path}, line {number}: {error}; expected {expected}") from None
        if row is not None:
            found.append(row)
    if not found:
        raise SensorError(f"{path} has no line of {expected}")
    return sorted_rows(found, columns + optional)


def parse_line(line: str, columns: int, optional: int = 0) -> tuple[int, list[float]] | None:
    """Nanoseconds and so many numbers; None for a line without any. Raises ValueError for anything else.

    optional: numbers that may follow; nan where the line has none.
    """
    fields = [field for field in _SEPARATORS.split(line.split("#", 1)[0]) if field]
    if not fields:
        return None
    if len(fields) < columns + 1:
        raise ValueError(f"{len(fields)} values")
    time_ns = parse_time(fields[0])
    values = []
    for field in fields[1 : columns + optional + 1]:
        try:
            values.append(float(field))
        except ValueError:
            raise ValueError(f"{cleaned(field, 40)!r} is no number") from None
        if not math.isfinite(values[-1]):
            raise ValueError(f"{cleaned(field, 40)} is not finite")
    _check_sizes(values[:columns])
    return time_ns, values + [math.nan] * (columns + optional - len(values))


def parse_json(text: str, fields: Sequence[tuple[str, int, bool]]) -> tuple[int, list[float]]:
    """Of a message {"time": …, "position": […], …}: nanoseconds, and the numbers of its fields one after the other.

    fields: name, how many numbers it has, and whether it must be there; nan where it is not. Raises ValueError.
    """
    message = json.loads(text, parse_float=str, parse_constant=str)  # times keep their digits
    if not isinstance(message, dict) or not isinstance(message.get("time"), (int, str)):
        raise ValueError('a message without a "time"')
    values: list[float] = []
    for name, count, is_needed in fields:
        given = message.get(name)
        if given is None and not is_needed:
            values += [math.nan] * count
            continue
        if not isinstance(given, list) or len(given) != count:
            raise ValueError(f'a message whose "{name}" is no list of {count} numbers')
        try:
            numbers = [float(one) if isinstance(one, (int, str)) else math.nan for one in given]
        except OverflowError:  # of whole numbers alone
            numbers = [math.inf]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f'a message whose "{name}" has what is no finite number')
        if is_needed:
            _check_sizes(numbers)
        values += numbers
    return parse_time(str(message["time"])), values


def parse_time(field: str) -> int:
    """Nanoseconds of a time in seconds or nanoseconds. Raises ValueError."""
    try:
        time_ns = int(field) if re.fullmatch(r"[+-]?\d{1,20}", field) else None
        if time_ns is None or abs(time_ns) < LEAST_NANOSECONDS:
            whole, _, rest = field.partition(".")
            exact = re.fullmatch(r"[+-]?\d+", whole) and re.fullmatch(r"\d*", rest)  # floats of Unix times lose 200 ns
            sign = -1 if whole.startswith("-") else 1
            time_ns = int(whole) * 10**9 + sign * int((rest + "0" * 9)[:9]) if exact else round(float(field) * 1e9)
    except (ValueError, OverflowError):
        raise ValueError(f"{cleaned(field, 40)!r} is no time") from None
    if abs(time_ns) >= MOST_TIME_NS:
        raise ValueError(f"{cleaned(field, 40)} is no time of this era")
    return time_ns


def _check_sizes(values: Sequence[float]) -> None:
    """Not of deviations: some say by the largest number that there is that they do not know."""
    most = max(map(abs, values))
    if most > MOST_VALUE:
        raise ValueError(f"{most:g} is more than any sensor says")


def sorted_rows(found: Iterable[tuple[int, list[float]]], columns: int) -> Rows:
    """In the order of time; of several of one time the last."""
    by_time = dict(found)
    times = sorted(by_time)
    values = np.array([by_time[time] for time in times], np.float64).reshape(-1, columns)
    return Rows(np.array(times, np.int64), values)
