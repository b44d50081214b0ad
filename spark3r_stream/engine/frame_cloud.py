"""The points of one frame that are worth showing: from its depth map, its camera and how far each pixel is trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark3r_core.geometry.pointmap import confident, depth_edges, points_from_depth, subsample, valid_depth


@dataclass(frozen=True)
class CloudConfig:
    """Which points of a frame are published.

    max_points: per frame. confidence_quantile: this share of each frame's pixels, the least trusted, is left out; an
        absolute bound would mean something else for every network. max_edge_step: relative depth step that counts as
        an edge.
    max_depth_ratio: points beyond this multiple of the frame's median depth are left out.
    least_confidence: an absolute bound instead of the share, where confidence is a probability; None: the share.
    """

    max_points: int = 50_000
    confidence_quantile: float = 0.1
    max_edge_step: float = 0.06
    max_depth_ratio: float = 6.0
    least_confidence: float | None = None


def cloud_of(
    config: CloudConfig,
    image: np.ndarray,
    depth: np.ndarray,
    confidence: np.ndarray,
    depth_k: np.ndarray,
    world_from_camera: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (N, 3) float32 in the pose's world, colours (N, 4) uint8 and confidence (N,) of the pixels worth showing.

    image: (h, w, 3) uint8; depth, confidence: (h, w); depth_k: (3, 3) camera of that depth map.
    """
    keep = valid_depth(depth, config.max_depth_ratio * float(np.median(depth)))
    if config.least_confidence is None:
        keep &= confident(confidence, config.confidence_quantile, keep)
    else:
        keep &= confidence >= config.least_confidence
    keep &= ~depth_edges(depth, config.max_edge_step)
    chosen = subsample(keep, config.max_points)
    points = points_from_depth(depth, depth_k, world_from_camera).reshape(-1, 3).take(chosen, axis=0)
    colours = np.full((len(chosen), 4), 255, np.uint8)
    colours[:, :3] = image.reshape(-1, 3).take(chosen, axis=0)
    return points.astype(np.float32), colours, confidence.reshape(-1)[chosen]
