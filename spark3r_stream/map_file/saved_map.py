"""A map as it is kept in a file: the keyframes and what joins them, and what it was made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.keyframe_map import KeyframeMap


@dataclass(frozen=True, eq=False)
class Metres:
    """What is known of a map in metres.

    keyframe_id: one of the map's keyframes, by which it is known from the other maps of a run. metres_from_map: where
    what is published in metres lies. std: of its scale, relative. source: what says so. z_up: whether its z is.
    """

    keyframe_id: int
    metres_from_map: Sim3
    std: float
    source: str
    z_up: bool


@dataclass(frozen=True)
class MapFacts:
    """What a map was made from.

    source_id: without credentials. source_kind: as `sources.base.SourceKind` names it. fps: what the source claims,
    None if it claims nothing. captured_ns: of the first frame, by `captured_clock`: "unix", or "source" for a file's
    own times. model: the backbone. program: version of this package. metres: of each map of a run of which it is known;
    of a map in a file at most one.
    """

    source_id: str
    source_kind: str
    fps: float | None
    captured_ns: int
    captured_clock: str
    model: str
    program: str
    metres: tuple[Metres, ...] = ()

    def about(self, world: KeyframeMap) -> MapFacts:
        """The facts with the metres of this map only."""
        return replace(self, metres=tuple(one for one in self.metres if one.keyframe_id in world.keyframes)[-1:])


@dataclass(frozen=True)
class SavedMap:
    """world: its keyframes carry their pictures as JPEGs, see `spark3r_core.stream.kept_picture`. sha256: of the file's
    bytes, hexadecimal."""

    world: KeyframeMap
    facts: MapFacts
    sha256: str

    @property
    def metres(self) -> Metres | None:
        return self.facts.metres[0] if self.facts.metres else None

    def placed(self) -> KeyframeMap:
        """The map in metres, z up where that is known; as it is where neither is."""
        if self.metres is None:
            return self.world
        gauge = self.metres.metres_from_map
        keyframes = {
            frame_id: one.moved(gauge.apply_to_poses(one.world_from_camera), gauge.scale * one.scale)
            for frame_id, one in self.world.keyframes.items()
        }
        return replace(self.world, keyframes=keyframes)
