"""The camera of a map of keyframes, its lens too: by where its features were seen."""

from __future__ import annotations

import numpy as np

from spark3r_core.bundle.problem import Cameras, Observations
from spark3r_core.bundle.triangulate import reprojection, triangulate
from spark3r_core.calibration.from_motion import MotionCalibration, calibrate_from_motion
from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_problem import enough

SIGHTINGS = 300  # of each keyframe, in the longest tracks
MOST_KEYFRAMES = 60
MOST_ERROR = 16.0  # pixels of a picture 640 wide, beyond which a sighting is a false match and no lens


def calibrated_by_map(world: KeyframeMap) -> MotionCalibration:
    """Of a map that was made without a calibration. Raises GeometryError where it says too little."""
    order = world.order
    if len(order) > MOST_KEYFRAMES:
        order = [order[i] for i in np.linspace(0, len(order) - 1, MOST_KEYFRAMES).round().astype(int)]
    track, keyframe, feature = world.tracks.seen_by(order, 2)
    if not len(track):
        raise GeometryError("no point was seen from two places")
    keyframes = [world.keyframes[frame_id] for frame_id in order]
    slot = np.searchsorted(order, keyframe).astype(np.int64)
    pairs = list(zip(slot.tolist(), feature.tolist(), strict=True))
    _, point = np.unique(track, return_inverse=True)
    seen = Observations(
        point.astype(np.int64),
        slot,
        np.array([keyframes[k].features.places[f] for k, f in pairs], np.float64),
        np.array([keyframes[k].feature_depth[f] * keyframes[k].scale for k, f in pairs]),
    )
    height, width = world.picture_hw
    poses, still = np.stack([se3.invert(one.world_from_camera) for one in keyframes]), np.ones(len(order), bool)
    centre = np.array([width / 2, height / 2])
    pinhole = Cameras(poses, np.zeros(len(order)), still, world.focal, world.focal, 0.0, centre)
    fits = reprojection(pinhole, seen, triangulate(pinhole, seen)[0]) < MOST_ERROR * width / 640
    fits &= np.bincount(seen.point[fits], minlength=seen.count)[seen.point] >= 2
    if not fits.any():
        raise GeometryError("no two pictures agree on where a point is")
    fits[fits] = enough(track[fits], keyframe[fits], SIGHTINGS)
    return calibrate_from_motion(seen.where(fits), poses, (width, height), world.focal)
