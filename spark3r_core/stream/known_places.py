"""The whole map bent to where something else (GPS) knows keyframes to be, so that drift of a long way is pulled in."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from spark3r_core.graph.places import NodePlaces, bent_to_places
from spark3r_core.graph.problem import Similarities
from spark3r_core.metric.gps import KnownPlaces
from spark3r_core.metric.scale import MOST_STD
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_graph import map_edges, moved_to

log = logging.getLogger(__name__)


def bent_to_known(world: KeyframeMap, known: KnownPlaces) -> KeyframeMap | None:
    """A map whose drift is pulled in, in its own gauge; None where the positions do not ask for that, where they and
    the map are not of one path, and where keyframes have to stay."""
    lies = {frame_id: keyframe.map_from_keyframe for frame_id, keyframe in world.keyframes.items()}
    fit = None if world.fixed else known.fit(lies)
    if fit is None or fit.log_std > MOST_STD:
        return None
    order = world.order
    number = {frame_id: i for i, frame_id in enumerate(order)}
    nodes = Similarities.of([lies[frame_id] for frame_id in order])
    cameras = known.metres - known.levers(lies) @ fit.metres_from_map.rotation.T
    at = NodePlaces(np.array([number[one] for one in known.keyframe_ids], np.int64), cameras, known.stds)
    found = bent_to_places(nodes, map_edges(world, nodes, number), at, fit.metres_from_map)
    if found is None:
        return None
    log.info("the map was bent to %d of %d known positions", found.held, len(known.keyframe_ids))
    stays = np.arange(len(order)) == 0
    return replace(world, keyframes=moved_to(found.nodes, world.keyframes, order, stays))
