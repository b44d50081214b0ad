"""Chained gauges: a stream that leaves its first frame's view goes on from a newer anchor, in the same map.

A network's gauge is its anchor: origin, axes and unit come from frame 0, which is run again with every window. Released
networks hold it over long streams. A small one trained on near views knows its place only as long as it sees something
that its anchor saw; beyond that its answers are guesses. So after some frames the newest kept one becomes the anchor
of an empty memory. Its pose and depth, known in the map, are estimated once more with the next window, and the two
estimates tie the new gauge to the map: scale from the depths, rotation and translation from the poses.

What is lost: the memory of what came before, and with it the chance to recognise a place; drift adds up link by link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.estimates import FrameEstimate, moved


class Chain:
    """Which link of the chain a stream is in.

    first: index in the stream of the link's anchor, which is frame 0 within the link. map_from_link: None in the first
    link, whose gauge is the map's. untied: the anchor has not been estimated in the link's gauge yet.
    """

    def __init__(self) -> None:
        self.first = 0
        self.map_from_link: Sim3 | None = None
        self.untied = False

    def next_link(self, anchor: int) -> None:
        """Begin a link; anchor: index of its first frame within the present one."""
        self.first += anchor
        self.untied = True

    def place(
        self, estimates: list[FrameEstimate], support_poses: np.ndarray
    ) -> tuple[list[FrameEstimate], np.ndarray]:
        """Estimates and poses (n, 4, 4) of a tied link in the map's gauge."""
        if self.map_from_link is None:
            return estimates, support_poses
        return moved(estimates, self.map_from_link), self.map_from_link.apply_to_poses(support_poses)

    def numbered(self, estimates: list[FrameEstimate]) -> list[FrameEstimate]:
        """With indices of the stream instead of the link's."""
        return [replace(e, index=e.index + self.first) for e in estimates] if self.first else estimates

    def in_stream(self, frames: Sequence[int] | set[int]) -> list[int]:
        return [frame + self.first for frame in frames]
