"""A folder of maps of several cameras: how they were joined (JSON), and what merged maps are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.meeting import Relation
from spark3r_stream.errors import MapFileError
from spark3r_stream.files import write_whole

JOINS_FILE = "joins.json"
MAX_FILE_BYTES = 16 << 20
VERSION = 1

Relations = Mapping[tuple[int, int], Relation]


def merged_name(number: int) -> str:
    """The file of the so many-th map that several cameras have in common. A camera may be called anything, but no name
    of one has a dot."""
    return "site.merged.s3rmap" if number == 0 else f"site_{number + 1}.merged.s3rmap"


def write_joins(path: Path, relations: Relations, names: Mapping[int, str]) -> None:
    """Raises OSError."""
    joins = [
        {
            "first": names[pair[0]],
            "second": names[pair[1]],
            "first_from_second": one.first_from_second.matrix.tolist(),
            "pairs": [list(both) for both in one.pairs],
        }
        for pair, one in sorted(relations.items())
    ]
    write_whole(path, json.dumps({"version": VERSION, "joins": joins}).encode())


def read_joins(path: Path, names: Mapping[int, str]) -> dict[tuple[int, int], Relation]:
    """Of those cameras that there are; nothing where there is no file. Raises MapFileError for what is none."""
    if not path.exists():
        return {}
    numbers = {name: number for number, name in names.items()}
    found = {}
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError("it is too large")
        content = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise ValueError(f"it has version {content['version']}, expected {VERSION}")
        for one in content["joins"]:
            if one["first"] not in numbers or one["second"] not in numbers:
                continue
            lies = Sim3.from_matrix(one["first_from_second"])
            relation = Relation(lies, tuple((int(a), int(b)) for a, b in one["pairs"]))
            pair = numbers[one["first"]], numbers[one["second"]]
            if pair[0] == pair[1]:
                raise ValueError(f"{one['first']} is joined with itself")
            if pair[0] > pair[1]:  # another order of cameras than then
                pair = pair[1], pair[0]
                relation = Relation(relation.first_from_second.inverse(), tuple((b, a) for a, b in relation.pairs))
            found[pair] = relation
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, GeometryError) as error:
        raise MapFileError(f"{path} does not say how maps are joined: {error}; move it away to begin without") from None
    return found
