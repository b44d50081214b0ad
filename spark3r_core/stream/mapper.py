"""Mapper: keyframes through the network, tied to the map, adjusted with their neighbours.

It runs beside the tracker, one request at a time, and shares nothing with it: a request is what the tracker knew when
it asked, an update is what it may adopt. Determinism follows from the order of requests alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.metric.gps import KnownPlaces
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.adjustment import adjust, bent, local_set
from spark3r_core.stream.camera_sizes import resampled
from spark3r_core.stream.dense import DenseMapping, TrackedDepth, dense_depths, tracked_depth
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.depth_bends import depth_bends
from spark3r_core.stream.estimates import FrameEstimate, WindowResult
from spark3r_core.stream.feature_guess import FeaturePoints
from spark3r_core.stream.joining import Met, Other, meet
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import close_loops, remembered
from spark3r_core.stream.map_budget import thinned_together, to_drop, without
from spark3r_core.stream.map_update import KeyframeRequest, MapOptions, MapUpdate
from spark3r_core.stream.placing import place
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.relocalisation import NotRecognised, placed_in_map
from spark3r_core.stream.session import StreamSession
from spark3r_core.stream.way_agreement import way_between, ways_agree
from spark3r_core.stream.whole_map import adjust_whole

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

log = logging.getLogger(__name__)

LEAST_TO_ADJUST = 3  # keyframes of a map that are adjusted together at the end of a file
FINAL_MEETINGS = 160  # pairs of keyframes of this map and of those given up that are verified at the end of a file

FOCAL_TRUSTED = 0.1  # standard deviation up to which triangulated points say how deep a keyframe is


class _Mapped(NamedTuple):
    """world: the map to come. others: that it was not joined to. update: without what only the network's whole step can
    say."""

    world: KeyframeMap
    others: tuple[Other, ...]
    update: MapUpdate


class Mapper:
    """One map of one camera.

    Args:
        model: any backbone.
        memory: of its attention; one new frame per window.
        world: a map to go on in, see `loops.opened`; the network remembers nothing of it. None: a new one.
        others: maps that were given up, to be joined with this one where they meet. They count to its bytes, and are
            thinned to half of what it may have.
    """

    def __init__(
        self,
        model: Backbone,
        memory: MemoryConfig,
        options: MapOptions | None = None,
        world: KeyframeMap | None = None,
        others: Sequence[KeyframeMap] = (),
    ) -> None:
        self.model = model
        self.options = options or MapOptions()
        self.session = StreamSession(model, memory, refine=False, tied=True)
        self.world = self._begun_as = world or KeyframeMap()
        self._closes_loops = self.options.closes_loops and self.options.adjusts
        device = torch.device(model.facts.device)
        self._device = None if device.type == "cpu" else device  # for depth from several views
        self._dense = DenseMapping(self._device) if self.options.adjusts else None
        self._focal_is_known = False
        self._wants_bends = False
        half = None if self.options.max_bytes is None else self.options.max_bytes // 2
        thinned, self._thinned_away = thinned_together(others, half)
        self._others = tuple(Other(one) for one in thinned)

    @property
    def others(self) -> list[KeyframeMap]:
        """Maps that were given up, and that this one was not joined to yet."""
        return [other.world for other in self._others]

    def map(self, request: KeyframeRequest) -> MapUpdate:
        """Map one keyframe. Neither the map nor what the network remembers changes if anything is raised."""
        started_ns = time.perf_counter_ns()
        if request.lost:
            found = placed_in_map(self.world, request.picture) if self._closes_loops else "places are not recognised"
            if isinstance(found, str):
                return self._failed(request, None, found, started_ns)
            camera = self.world.camera_of(request.sizes.picture_hw)
            tracked = found.as_tracked(request.frame_id, request.odom_from_camera, request.sizes.tracker_map @ camera)
            request = replace(request, tracked=tracked, points=found.points)
        image, network_from_picture = request.sizes.for_network(request.picture)
        mapped: list[_Mapped] = []

        def before_commit(estimates: Sequence[FrameEstimate]) -> None:
            if estimates[0].valid:
                mapped.append(self._mapped(request, estimates[0], network_from_picture))

        try:
            window = self.session.step(image.transpose(2, 0, 1)[None], [request.frame_id], before_commit=before_commit)
        except NotRecognised as error:
            denied = not request.lost
            return replace(self._failed(request, None, str(error), started_ns), denied=denied)
        estimate = window.frames[0]
        if not estimate.valid:
            return self._failed(request, window, estimate.failure or "no estimate", started_ns)
        world, self._others, update = mapped[0]
        self._thinned_away = ()
        self._settle(world, update.moved, {request.frame_id: estimate.depth})
        self.world = world
        self._focal_is_known, self._wants_bends = request.intrinsics is not None, request.wants_bends
        return replace(update, window=window, map_ns=time.perf_counter_ns() - started_ns)

    def refine(self) -> dict[int, DenseDepth]:
        """Depth from several views of the keyframe whose turn it is: what can wait until a new one is mapped."""
        return {} if self._dense is None else self._dense.due(self.world, self.world.picture_hw)

    def _mapped(self, request: KeyframeRequest, estimate: FrameEstimate, network_from_picture: Array) -> _Mapped:
        """The map with the keyframe in it, and what is told of that; changes nothing that is kept."""
        world, known = self.world.draft(), request.intrinsics is not None
        placed = place(
            world, request, estimate, network_from_picture, adjusts=self.options.adjusts,
            closes_loops=self._closes_loops, keeps_picture=self._dense is not None,
        )  # fmt: skip
        node_information = placed.node_information
        put, adjusted = world, False
        if self.options.adjusts and request.tracked is not None:
            chosen, held = local_set(world, request.frame_id)
            found = adjust(world, chosen, held, request.sizes.picture_hw, focal_is_known=known)
            world, adjusted = found.map, found.verdict.accepted
            if adjusted:
                log_ratio, places = found.log_depth[request.frame_id]
                after, by_points = bent(world.keyframes[request.frame_id], log_ratio, places)
                world.keyframes[request.frame_id] = after
                if world.focal_std <= FOCAL_TRUSTED:
                    node_information = _sum(node_information, by_points)
            log.debug("keyframe %d: %s", request.frame_id, found.verdict.summary())
        # Where features contradict tracking, adjustment has to say which of them is right, if no other sensor does.
        agrees = False if placed.is_mended and not placed.turn_is_measured else None
        if adjusted:
            agrees = self._agrees(request, put, world, turn_is_measured=placed.turn_is_measured)
        loops: tuple[tuple[int, int], ...] = ()
        if self._closes_loops:
            remembered(world, request.frame_id)
            world, loops = close_loops(world, request.frame_id, request.sizes.picture_hw, focal_is_known=known)
        world, beside, met = self._meeting(world, [request.frame_id], known, adjusts=True)
        dropped: list[int] = []
        bytes_of_others = sum(other.world.nbytes for other in beside)
        if self.options.max_bytes is not None and request.tracked is not None:
            dropped = to_drop(world, self.options.max_bytes - bytes_of_others, {request.tracked.keyframe_id})
            world = without(world, dropped)
        moved = world.placed(self._all_before() if met else self.world)
        update = self._update(request, world, node_information, moved, adjusted)
        dropped = [*self._thinned_away, *dropped]
        update = replace(update, map_bytes=world.nbytes + bytes_of_others, dropped=tuple(dropped))
        if update.reference is not None:
            update.reference.confirmed, update.reference.mended = placed.is_confirmed, placed.is_mended
        found_by = request.tracked.keyframe_id if request.lost and request.tracked is not None else None
        bends = depth_bends(world, moved) if request.wants_bends else {}
        update = replace(update, loops=loops + met, found_by=found_by, part=world.order[0], agrees=agrees, bends=bends)
        return _Mapped(world, beside, update)

    def _meeting(self, world: KeyframeMap, frame_ids: Sequence[int], focal_is_known: bool, *, adjusts: bool) -> Met:
        """The map joined with those it meets at these keyframes."""
        if not self._closes_loops or not self._others:
            return Met(world, self._others)
        hw = world.picture_hw
        here = [other for other in self._others if other.world.picture_hw == hw]
        elsewhere = tuple(other for other in self._others if other.world.picture_hw != hw)
        budget = None if adjusts else FINAL_MEETINGS
        found = meet(world, here, frame_ids, hw, focal_is_known=focal_is_known, adjusts=adjusts, budget=budget)
        return found._replace(others=found.others + elsewhere)

    def _all_before(self) -> KeyframeMap:
        """The keyframes of this map and of the others, each where it lies in its own: what a joined one is held
        against. A keyframe of a map that was joined to lies there as it did."""
        keyframes = {one: key for world in [self.world, *self.others] for one, key in world.keyframes.items()}
        return replace(self.world, keyframes=keyframes)

    @staticmethod
    def _agrees(
        request: KeyframeRequest, put: KeyframeMap, adjusted: KeyframeMap, *, turn_is_measured: bool = False
    ) -> bool:
        assert request.tracked is not None
        before, first, new = request.tracked.keyframe_id, put.keyframes, adjusted.keyframes
        tracked, mapped = (way_between(world[before], world[request.frame_id]) for world in (first, new))
        depth = float(np.median(first[before].depth))
        return ways_agree(tracked, mapped, depth, turn_is_measured=turn_is_measured)

    def finish(
        self, refine_all: bool = True, known: KnownPlaces | None = None, stays: KeyframeMap | None = None
    ) -> MapUpdate | None:
        """Adjust all keyframes together, once, at the end; None where there is nothing to gain. So are those of each
        map that was given up and not met again, in its own frame. refine_all: and read the depth of each off several
        views. known: where keyframes of this map are by another system. stays: one of those maps that is left as it
        is."""
        started_ns = time.perf_counter_ns()
        if not self.options.adjusts or self.world is self._begun_as or len(self.world.keyframes) < LEAST_TO_ADJUST:
            return None
        before, focal_is_known = self._all_before(), self._focal_is_known
        world, beside, met = self._meeting(self.world, self.world.order, focal_is_known, adjusts=False)
        order = world.order
        found = adjust_whole(world.draft(), closes_loops=self._closes_loops, focal_is_known=focal_is_known, known=known)
        moved = found.map.placed(before)
        self._settle(found.map, moved, {})
        self.world, self._others = found.map, tuple(self._adjusted(other, focal_is_known, stays) for other in beside)
        moved_beside = {
            one: lies for after, other in zip(self.others, beside, strict=True)
            for one, lies in after.placed(other.world).items()
        }  # fmt: skip
        refined = {}
        if refine_all and self._dense is not None:
            refined = dense_depths(found.map, order, found.map.picture_hw, self._device)
        elapsed_ns = time.perf_counter_ns() - started_ns
        log.debug("all keyframes: %s", found.verdict.summary())
        accepted = found.verdict.accepted
        return MapUpdate(
            order[-1], None, None, moved, None, self.world.focal, self.world.focal_std, "", accepted, elapsed_ns,
            self.world.nbytes, refined=refined, loops=met + found.loops, part=order[0], moved_beside=moved_beside,
            bends=depth_bends(found.map, moved) if self._wants_bends else {},
        )  # fmt: skip

    def _adjusted(self, other: Other, focal_is_known: bool, stays: KeyframeMap | None) -> Other:
        """A map that was given up, all of its keyframes adjusted together."""
        world = other.world
        if world is stays or world.fixed or len(world.keyframes) < LEAST_TO_ADJUST:
            return other
        found = adjust_whole(world.draft(), closes_loops=self._closes_loops, focal_is_known=focal_is_known)
        log.debug("a map that was given up: %s", found.verdict.summary())
        return replace(other, world=found.map)

    def _update(
        self,
        request: KeyframeRequest,
        world: KeyframeMap,
        node_information: Array | None,
        moved: dict[int, Sim3],
        adjusted: bool,
    ) -> MapUpdate:
        """What the tracker may adopt: the keyframe at the tracker's size, by the camera as known now."""
        keyframe = world.keyframes[request.frame_id]
        camera = world.camera_of(request.sizes.picture_hw)
        network_from_picture = np.asarray(np.linalg.inv(keyframe.picture_from_depth), np.float64)
        tracker_from_picture = request.sizes.tracker_map
        size = request.sizes.tracker.image_hw
        keyframe = replace(keyframe, depth_intrinsics=network_from_picture @ camera)
        world.keyframes[request.frame_id] = keyframe
        known = TrackedDepth(keyframe.depth, None)
        if self._dense is not None and adjusted:
            known = tracked_depth(world, request.frame_id, request.sizes.picture_hw, self._device)
        depth, sigma = known.depth, known.sigma
        tracker_from_depth = tracker_from_picture @ keyframe.picture_from_depth
        reference = Reference.of(
            request.frame_id,
            request.pyramid,
            resampled(depth, tracker_from_depth, size),
            tracker_from_picture @ camera,
            request.odom_from_camera,
            _sum(node_information, known.node_information),
            FeaturePoints.of(keyframe.features, depth, camera, request.sizes.picture_hw, network_from_picture),
            request.hint,
            None if sigma is None else resampled(sigma, tracker_from_depth, size),
        )
        reference.focal_std = world.focal_std
        why = "" if reference.has_texture else "the picture has too little texture to track on"
        tracked_on = reference if reference.has_texture else None
        return MapUpdate(
            request.frame_id, keyframe, tracked_on, moved, None, world.focal, world.focal_std, why, adjusted
        )

    def _settle(self, world: KeyframeMap, moved: dict[int, Sim3], by_network: dict[int, NDArray[np.float32]]) -> None:
        """Tell the session where its support frames lie now."""
        poses = {frame_id: world.keyframes[frame_id].world_from_camera for frame_id in moved}
        factors = {}
        for frame_id in moved:
            keyframe = world.keyframes[frame_id]
            if frame_id in by_network:
                factors[frame_id] = _ratio(keyframe.depth, by_network[frame_id]) * keyframe.scale
            elif frame_id in self.world.keyframes:  # else of a map that was joined, which the session does not know
                factors[frame_id] = keyframe.scale / self.world.keyframes[frame_id].scale
        self.session.settle(poses, factors)

    def _failed(self, request: KeyframeRequest, window: WindowResult | None, why: str, started_ns: int) -> MapUpdate:
        elapsed_ns = time.perf_counter_ns() - started_ns
        return MapUpdate(
            request.frame_id, None, None, {}, window, self.world.focal, self.world.focal_std, why, map_ns=elapsed_ns
        )


def _sum(first: Array | None, second: Array | None) -> Array | None:
    return second if first is None else first if second is None else first + second


def _ratio(after: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    return float(np.median(after / np.maximum(before, 1e-9)))
