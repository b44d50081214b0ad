"""What a user may say of the scene in metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spark3r_core.errors import GeometryError
from spark3r_core.metric.tags import TagSpec


@dataclass(frozen=True)
class MetricOptions:
    """What is known of the scene in metres.

    tag: tags of known size to look for. tag_up: how they are mounted, so that they say what is up: upright on a "wall"
    or lying on the "floor". tag_origin: the map's origin is the tag with the smallest id that was seen.
    """

    tag: TagSpec | None = None
    tag_up: Literal["wall", "floor"] | None = None
    tag_origin: bool = False

    def __post_init__(self) -> None:
        if self.tag is None and (self.tag_up is not None or self.tag_origin):
            raise GeometryError("how a tag is mounted, and that it is the origin, need a tag: give its family and size")
        if self.tag_origin and self.tag_up is None:
            raise GeometryError("a tag as the origin needs to be known as mounted on a wall or on the floor")

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return self != MetricOptions()
