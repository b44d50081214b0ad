"""Consolidation: all kept frames are computed jointly, and their pages replace the memory in one step.

What it is for: released networks were trained with every frame in sight of all others. Pages that windows commit as
they go have seen the past only; pages of a joint pass are what the network was trained to read. Between two passes the
windows read the memory and write nothing, so an error of one window is not handed on to the next.

What is gained: pages as offline; a window costs its new frames only, none is run again in it. What is lost:

- A frame is not seen by others before the next pass, so the newest views are missing for up to a pass's distance.
- The pass itself: all kept frames at once, which makes the window that it follows slower than the others. With K frames
  kept and a pass every k, K / k frames are computed per new frame besides itself.
- Half of the page slots: old pages stay until the new ones are complete, so that a pass that fails costs nothing. The
  tokens of all kept frames come on top, half a page of one layer each. Both count as memory.
- Continuity of the gauge. Published poses stay as they are, and a pass may settle origin and scale a little
  differently. How far the anchor and the newest frames moved by it is the health signal `support_shift`.

Long passes follow Spark3R's reduction: up to 100 frames only the layers known as insensitive are pruned, which hold a
third of the pages anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from spark3r_core.attention.reduced import Reduced
from spark3r_core.attention.streaming import Filling
from spark3r_core.memory.eviction import Evictor
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.offline.reconstruct import chunked
from spark3r_core.stream.kept_frames import KeptFrames
from spark3r_core.stream.window import anchors_and_newest
from spark3r_core.tokens.schedule import Reduction


@dataclass(frozen=True)
class Consolidated:
    """What a joint pass gave.

    frames: that were computed, ascending. used_bytes: of the memory while old and new pages lay side by side.
    world_from_camera: (n, 4, 4) poses of these frames by the joint pass; None for a model without a gauge.
    """

    frames: tuple[int, ...]
    world_from_camera: np.ndarray | None
    used_bytes: int

    def shift(self, kept: KeptFrames, anchor: int, newest: int) -> tuple[float, float] | None:
        """How far the pass moved the anchor and the `newest` last of the kept frames, which are the pass's: what later
        windows will disagree by (degrees, median depths); None for a model without a gauge."""
        if self.world_from_camera is None:
            return None
        frames = anchors_and_newest(kept, {anchor}, newest)
        return kept.shift(frames, self.world_from_camera[[self.frames.index(frame) for frame in frames]])


def consolidate(
    model: Backbone, memory: KVMemory, kept: KeptFrames, evictor: Evictor, frames_per_chunk: int, anchor: int
) -> Consolidated | None:
    """Compute all kept frames jointly and swap the memory.

    Args:
        memory: with no window open, and slots for as many new pages as it has old ones.
        frames_per_chunk: frames at a time through everything that does not mix frames: bounds the peak of the pass.
        anchor: the frame that carries the reference tokens.

    Returns:
        None if the network's answer is not finite; the memory is then as before, as it is when something is raised.
    """
    frames = list(kept)
    try:
        memory.begin_swap(frames, evictor.choose_around({anchor}))
        plan = Filling(memory, frames, Reduced(Reduction.spark3r(), model.name or None))
        with chunked(model, frames_per_chunk):
            decoded = model.decode(
                Encoded.cat(kept.encoded(frames)), plan, frames.index(anchor) if anchor in frames else None
            )
        poses = model.poses(decoded)[0].double().cpu().numpy() if model.capabilities.has_gauge else None
        used_bytes = memory.used_bytes
        if not bool(torch.isfinite(decoded.pose).all()):
            memory.rollback()
            return None
        evictor.observe(frames)
    except BaseException:
        memory.rollback()
        raise
    memory.swap()
    return Consolidated(tuple(frames), poses, used_bytes)
