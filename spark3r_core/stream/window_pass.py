"""One window through the network, and what it says, in the gauge of the published map.

A network that carries its anchor's gauge from window to window gives poses and depths in the map directly. Any other
window is tied to the map by its support frames (`tie.py`): windows of a network without a gauge, the first one of a
link, and all of a stream whose map is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.attention.streaming import Streaming
from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.models.interface import Backbone, Decoded, Encoded
from spark3r_core.stream.estimates import FrameEstimate, estimates_of, moved
from spark3r_core.stream.kept_frames import KeptFrames
from spark3r_core.stream.tie import align_window, thin_depth
from spark3r_core.stream.window import Window


@dataclass(frozen=True)
class PassedWindow:
    """What the network says of one window.

    estimates: of the new frames, in the map. support_poses: (n, 4, 4) world_from_camera there of the n support frames.
    map_from_gauge: the similarity that took them there from the anchor's gauge; None: it is the map's own.
    """

    estimates: list[FrameEstimate]
    support_poses: np.ndarray
    map_from_gauge: Sim3 | None


def run_window(
    model: Backbone,
    memory: KVMemory,
    window: Window,
    kept: KeptFrames,
    encoded: Encoded,
    map_from_gauge: Sim3 | None,
    tied: bool,
) -> PassedWindow:
    """Run the network on a window.

    Args:
        memory: with this window open; its pages are read, and the window's are written.
        kept: the support frames, among others. encoded: the new frames.
        map_from_gauge: of the anchor's gauge, as the window before had it.
        tied: whether every window is tied to the map by its support frames.

    Frames of a window that cannot be tied to the map have failed; nothing is raised then.
    """
    together = Encoded.cat([*kept.encoded(window.support), encoded])
    decoded = model.decode(together, Streaming(memory), reference=window.reference)
    if window.support and (tied or window.begins_link):
        return _tied(model, decoded, window, kept, map_from_gauge)
    count = len(window.support)
    support_poses = model.poses(decoded)[0, :count].double().cpu().numpy() if count else np.zeros((0, 4, 4))
    estimates = estimates_of(window.new, model.predict(decoded, slice(count, len(window.frames))))
    if window.begins_map:
        estimates, map_from_gauge = _at_the_origin(estimates, model.capabilities.has_reference_frame)
    elif map_from_gauge is not None:
        estimates, support_poses = moved(estimates, map_from_gauge), map_from_gauge.apply_to_poses(support_poses)
    return PassedWindow(estimates, support_poses, map_from_gauge)


def _tied(
    model: Backbone, decoded: Decoded, window: Window, kept: KeptFrames, map_from_gauge: Sim3 | None
) -> PassedWindow:
    """Support frames have dense maps here as well: their depths give the scale of the tie."""
    shown = estimates_of(window.frames, model.predict(decoded, slice(0, len(window.frames))))
    again, estimates = shown[: len(window.support)], shown[len(window.support) :]
    poses = np.stack([estimate.world_from_camera for estimate in again])
    published = [kept[frame] for frame in window.support]
    try:
        tie = align_window(
            poses,
            np.stack([known.world_from_camera for known in published]),
            [thin_depth(estimate.depth) for estimate in again],
            [known.depth for known in published],
        )
    except GeometryError as error:
        reason = f"the window could not be aligned to the map: {error}"
        failed = [replace(e, failure=e.failure or reason, aligned=False) for e in estimates]
        return PassedWindow(failed, poses, map_from_gauge)
    return PassedWindow(moved(estimates, tie), tie.apply_to_poses(poses), tie)


def _at_the_origin(
    estimates: Sequence[FrameEstimate], has_reference_frame: bool
) -> tuple[list[FrameEstimate], Sim3 | None]:
    """The first window of a map: its origin is the first camera, also for networks that put it elsewhere."""
    if has_reference_frame:
        if not estimates[0].valid:
            reason = "the first frame, whose camera is the origin, failed"
            return [replace(estimate, failure=estimate.failure or reason) for estimate in estimates], None
        return list(estimates), None
    first = next((estimate for estimate in estimates if estimate.valid), None)
    if first is None:
        return list(estimates), None
    map_from_gauge = Sim3.from_matrix(se3.invert(se3.require_se3(first.world_from_camera)))
    return moved(estimates, map_from_gauge), map_from_gauge
