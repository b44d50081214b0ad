"""`spark3r map merge`: two maps of one room made one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from spark3r_core.stream.merging import Merged, NotMerged, merged
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import MapFacts, SavedMap
from spark3r_stream.map_file.target import check_map_target
from spark3r_stream.map_file.writing import write_map
from spark3r_stream.plain_text import cleaned

MOST_NAME = 500  # characters of what two maps were made from, each


def map_merge_command(first: Path, second: Path, out: Path, as_json: bool) -> int:
    """Write both maps as one to `out`, a new file. Raises MapFileError where they are not maps of one place."""
    check_map_target(out, overwrite=False)
    a, b = read_map(first), read_map(second)
    if a.facts.model != b.facts.model:
        raise MapFileError(
            f"{first} was made with --model {a.facts.model} and {second} with {b.facts.model}; one map is of one model"
        )
    if a.sha256 == b.sha256:
        raise MapFileError(f"{first} and {second} are the same map")
    print(f"looking for places that {cleaned(first)} and {cleaned(second)} have in common", file=sys.stderr)
    try:
        found = merged(a.world, b.world)
    except NotMerged as error:
        raise MapFileError(f"cannot merge {first} and {second}: {error}") from None
    size = write_map(out, found.map, _facts(a, b, found), overwrite=False)
    what = {
        "keyframes": len(found.map.keyframes),
        "pairs": [list(pair) for pair in found.pairs],
        "ids_shift": found.ids_shift,
        "second_is_larger": found.first_from_second.scale,
        "adjusted": found.adjusted,
        "bytes": size,
    }
    if as_json:
        print(json.dumps(what))
        return 0
    print(f"{cleaned(out)}: {size / 2**20:.1f} MiB, {what['keyframes']} keyframes")
    print(f"  {len(found.pairs)} pairs of pictures show one place")
    print(f"  a unit of {cleaned(second)} is {found.first_from_second.scale:.3g} of {cleaned(first)}")
    print(f"  its frame ids are {found.ids_shift} higher now")
    if not found.adjusted:
        print("  bundle adjustment of all keyframes changed nothing: it did not lower errors that it had not seen")
    return 0


def _facts(first: SavedMap, second: SavedMap, found: Merged) -> MapFacts:
    """Of both: the first one's, and the name of the second's source; in metres if either is known so."""
    names = (first.facts.source_id[:MOST_NAME], second.facts.source_id[:MOST_NAME])
    metres = first.facts.metres
    if not metres and second.metres is not None:
        lies = second.metres.metres_from_map @ found.first_from_second.inverse()
        keyframe_id = second.metres.keyframe_id + found.ids_shift
        metres = (replace(second.metres, keyframe_id=keyframe_id, metres_from_map=lies),)
    return replace(
        first.facts,
        source_id=" + ".join(names),
        fps=first.facts.fps if first.facts.fps == second.facts.fps else None,
        program=version("spark3r-stream"),
        metres=metres,
    )
