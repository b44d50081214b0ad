"""Points to pixels with a depth buffer, in numpy: enough of a renderer for a picture without a graphics stack."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]

# Far to near: dark violet, blue, teal, yellow-green, warm white. Brightness grows evenly, so it survives greyscale.
_DEPTH_COLOURS = np.array(
    [[22, 12, 56], [44, 42, 120], [38, 92, 148], [32, 142, 140], [92, 186, 98], [196, 214, 72], [252, 244, 190]], float
)


def splat(
    pixels: ArrayLike, depth: ArrayLike, colours: ArrayLike, size: tuple[int, int], background: Image, square: int = 2
) -> Image:
    """Draw points as squares of `square` pixels, the nearest on top, shaded where something nearer is close by.

    pixels: (n, 2) x, y; depth: (n,) in units where the scene is about 1 deep; colours: (n, 3) uint8;
    size: width, height; background: (height, width, 3). Returns a new image of that shape.
    """
    width, height = size
    corner = np.floor(np.asarray(pixels) - (square - 1) / 2).astype(np.int64)
    offsets = np.stack(np.meshgrid(np.arange(square), np.arange(square)), -1).reshape(-1, 1, 2)
    x, y = np.moveaxis((corner + offsets).reshape(-1, 2), -1, 0)
    z = np.tile(np.asarray(depth, np.float32), square**2)
    inside = np.flatnonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
    order = inside[np.argsort(-z[inside], kind="stable")]  # far ones first: the last write to a pixel stays
    flat = y[order] * width + x[order]
    nearest = np.full(width * height, np.inf, np.float32)
    nearest[flat] = z[order]
    image = background.reshape(-1, 3).astype(np.float32)
    image[flat] = np.asarray(colours, np.float32)[order % len(np.asarray(depth))]
    image *= _eye_dome_shade(nearest.reshape(height, width)).reshape(-1, 1)
    return image.reshape(height, width, 3).astype(np.uint8)


def _eye_dome_shade(depth: NDArray[np.float32], strength: float = 12.0, reach: int = 2) -> NDArray[np.float32]:
    """Eye-dome lighting (Boucheny 2009): a pixel is darkened by how far it lies behind its neighbours."""
    height, width = depth.shape
    covered = np.isfinite(depth)
    padded = np.pad(depth, reach, constant_values=np.inf)
    response = np.zeros_like(depth)
    for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
        neighbour = padded[row * reach : row * reach + height, column * reach : column * reach + width]
        both = covered & np.isfinite(neighbour)
        response[both] += np.clip(depth[both] - neighbour[both], 0, 0.1)
    return np.maximum(np.exp(-strength * response), 0.35)


def colour_depth(depth: ArrayLike) -> Image:
    """z-depth (h, w) -> (h, w, 3): near bright, far dark, between the 2 % and 98 % of the map; invalid is black."""
    depth = np.asarray(depth, np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    image = np.zeros((*depth.shape, 3), np.uint8)
    if not valid.any():
        return image
    inverse = 1.0 / depth[valid]  # disparity spreads near things, where there is detail
    low, high = np.quantile(inverse, [0.02, 0.98])
    level = np.clip((inverse - low) / max(high - low, 1e-12), 0, 1)
    steps = np.linspace(0, 1, len(_DEPTH_COLOURS))
    image[valid] = np.stack([np.interp(level, steps, channel) for channel in _DEPTH_COLOURS.T], -1).round()
    return image
