"""A map as it is kept in a file: the keyframes and what joins them, and what it was made from."""

from __future__ import annotations

from dataclasses import dataclass

from spark3r_core.stream.keyframe_map import KeyframeMap


@dataclass(frozen=True)
class MapFacts:
    """What a map was made from.

    source_id: without credentials. source_kind: as `sources.base.SourceKind` names it. fps: what the source claims,
    None if it claims nothing. captured_ns: of the first frame, by `captured_clock`: "unix", or "source" for a file's
    own times. model: the backbone. program: version of this package.
    """

    source_id: str
    source_kind: str
    fps: float | None
    captured_ns: int
    captured_clock: str
    model: str
    program: str


@dataclass(frozen=True)
class SavedMap:
    """world: its keyframes carry their pictures as JPEGs, see `spark3r_core.stream.kept_picture`. sha256: of the file's
    bytes, hexadecimal."""

    world: KeyframeMap
    facts: MapFacts
    sha256: str
