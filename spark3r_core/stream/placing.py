"""Where a new keyframe lies in the map, before anything is adjusted: by tracking, by its features, by another sensor.

Its depth is tied to the points that it was tracked on, since a network's unit is another one in each window.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import extract
from spark3r_core.geometry import se3
from spark3r_core.stream.adjustment import LEAST_SHARED
from spark3r_core.stream.camera_sizes import focal_of, sampled
from spark3r_core.stream.dense import small_picture
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.hinted import by_hint, hinted_edge
from spark3r_core.stream.joined_tracks import join_tracks, neighbours
from spark3r_core.stream.kept_picture import encoded
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap, TrackedEdge
from spark3r_core.stream.map_update import KeyframeRequest
from spark3r_core.stream.relocalisation import LEAST_FEATURES, NotRecognised, confirm_place
from spark3r_core.stream.resection import resected
from spark3r_core.stream.tied_depth import seen_from, tied_depth
from spark3r_core.stream.tracked_frame import TrackedFrame

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

EXPECTED_OVERLAP = 0.5  # of a keyframe with that it was tracked on, from which on features of both must match
DENIED = "its features are not those of the place where tracking says it is"


class Placed(NamedTuple):
    """What is known of a keyframe that was put into the map.

    is_confirmed: features, or another sensor, agree with where it lies. is_mended: they put it elsewhere than tracking
    did. turn_is_measured: by another sensor. node_information: of its depth, (NODES, NODES) of `depth_grid`; None where
    no point tied it.
    """

    is_confirmed: bool
    is_mended: bool
    turn_is_measured: bool
    node_information: Array | None


def place(
    world: KeyframeMap,
    request: KeyframeRequest,
    estimate: FrameEstimate,
    network_from_picture: Array,
    *,
    adjusts: bool,
    closes_loops: bool,
    keeps_picture: bool,
) -> Placed:
    """Put the keyframe that is asked for into `world`, a draft, with its tracks and edges.

    Args:
        estimate: of the network; network_from_picture: (3, 3) of its pixels.
        adjusts: whether features are matched. closes_loops: whether a camera that is lost can be found.
        keeps_picture: for depth from several views.

    Raises NotRecognised where its features are not those of the place where it should lie.
    """
    picture_hw = request.sizes.picture_hw
    world.picture_hw = picture_hw
    picture_from_network = np.asarray(np.linalg.inv(network_from_picture), np.float64)
    _learn_focal(world, request, picture_from_network @ estimate.intrinsics)
    depth_camera = network_from_picture @ world.camera_of(picture_hw)
    features = extract(request.picture)
    pose, scale = _as_tracked(world, request.tracked)
    keyframe = Keyframe(
        request.frame_id, request.time_s, pose, scale, estimate.depth, estimate.confidence, depth_camera,
        picture_from_network, features, np.full(len(features.places), np.nan), encoded(request.picture),
        small_picture(request.picture) if keeps_picture else None,
    )  # fmt: skip
    world.keyframes[request.frame_id] = keyframe
    points, mended, is_confirmed = request.points, None, True
    if adjusts and request.tracked is not None:
        others = neighbours(world, request.frame_id, request.tracked.keyframe_id)
        followed_on = request.tracked.keyframe_id if request.tracked.unbroken else None
        join_tracks(world, request.frame_id, others, picture_hw, followed_on)
        resection = resected(world, request.frame_id, others, picture_hw)
        resection = by_hint(resection, world, request.tracked, request.frame_id)
        mended, is_confirmed = resection.world_from_camera, resection.confirmed
        if not is_confirmed and not request.lost and closes_loops and _is_denied(world, request.tracked):
            raise NotRecognised(DENIED)
        if mended is not None and points is not None:
            log.debug("keyframe %d was tracked to a wrong place", request.frame_id)
            points = seen_from(mended, pose, scale, points)
    depth, node_information = tied_depth(points, estimate.depth, depth_camera)
    keyframe = replace(keyframe, depth=depth, feature_depth=sampled(depth, features.places, network_from_picture))
    world.keyframes[request.frame_id] = keyframe if mended is None else keyframe.moved(mended, scale)
    if request.lost:
        confirm_place(world, request.frame_id, others, picture_hw)
    if request.tracked is not None and mended is None:
        world.edges.append(_edge(request.tracked, request.frame_id))
    measured = None if request.tracked is None else hinted_edge(request.tracked, request.frame_id)
    if measured is not None:
        world.measured.append(measured)
    return Placed(is_confirmed, mended is not None, measured is not None, node_information)


def _learn_focal(world: KeyframeMap, request: KeyframeRequest, by_network: Array) -> None:
    """Take the user's camera, or the network's until something better is known. by_network: (3, 3) of the picture."""
    if request.intrinsics is not None:
        world.given_camera = request.intrinsics
        world.focal, world.focal_std = focal_of(request.intrinsics), 0.0
        return
    world.network_focals.append(focal_of(by_network))
    world.focal = world.focal or world.network_focals[-1]


def _as_tracked(world: KeyframeMap, tracked: TrackedFrame | None) -> tuple[Array, float]:
    """Pose (4, 4) and scale of the new keyframe, by the one it was tracked on."""
    if tracked is None:
        return np.eye(4), 1.0
    before = world.keyframes[tracked.keyframe_id]
    relative = tracked.key_from_camera.copy()
    relative[:3, 3] *= before.scale
    return se3.require_se3(se3.compose(before.world_from_camera, relative)), before.scale


def _is_denied(world: KeyframeMap, tracked: TrackedFrame) -> bool:
    """Whether a new keyframe has so much in common with the one it was tracked on that their features must match, and
    they do not. Where they do it is the place, and only the pose or the depth is wrong. A camera that was followed all
    the way from there is there, whatever features say."""
    if tracked.unbroken:
        return False
    both = (world.keyframes[one].features for one in (tracked.keyframe_id, tracked.frame_id))
    must_match = tracked.overlap >= EXPECTED_OVERLAP and min(map(len, both)) >= LEAST_FEATURES
    return must_match and world.tracks.shared(tracked.frame_id).get(tracked.keyframe_id, 0) < LEAST_SHARED


def _edge(tracked: TrackedFrame, frame_id: int) -> TrackedEdge:
    information = np.asarray(np.linalg.inv(tracked.covariance + 1e-12 * np.eye(6)), np.float64)
    return TrackedEdge(tracked.keyframe_id, frame_id, se3.invert(tracked.key_from_camera), information)
