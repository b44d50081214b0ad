"""Edge-aware completion: values known with different weights, spread to where nothing is known.

Weighted least squares, min Σ w (x - m)² + λ Σ g (x_p - x_q)² over neighbouring pixels with g small where the picture
has an edge, solved one dimension after the other (Min et al., Fast Global Image Smoothing, IEEE TIP 2014, equations 8
to 13; confidence as in their section V: what is smoothed is w m and w).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

ROUNDS = 3
TINY = 1e-4  # weight of the network's own value: no pixel is without any


def spread(
    value: Image, weight: Image, guide: NDArray[np.uint8], strength: float, contrast: float, background: float = TINY
) -> Image:
    """(H, W) smooth values. Where nothing else is known they go to zero.

    Args:
        value, weight: (H, W) known, and how well; weight 0: unknown.
        guide: (H, W) uint8 picture; `contrast` grey levels make smoothing e times weaker.
        strength: λ; about the square of the distance in pixels that values travel.
        background: weight of zero at every pixel.
    """
    down = _affinity(guide, 0, contrast)
    across = _affinity(guide, 1, contrast)
    known = np.stack([value * weight, weight + np.float32(background)])
    for number in range(ROUNDS):
        share = 1.5 * strength * 4.0 ** (ROUNDS - 1 - number) / (4.0**ROUNDS - 1)
        known = _solve(known.transpose(2, 0, 1), across * np.float32(share)).transpose(1, 2, 0)
        known = _solve(known.transpose(1, 0, 2), down * np.float32(share)).transpose(1, 0, 2)
    return np.asarray(known[0] / np.maximum(known[1], np.float32(1e-12)), np.float32)


def _affinity(guide: NDArray[np.uint8], axis: int, contrast: float) -> Image:
    """(n - 1, m) how much neighbouring lines along `axis` hold together."""
    lines = guide.astype(np.float32) if axis == 0 else guide.T.astype(np.float32)
    return np.exp(-np.abs(np.diff(lines, axis=0)) / np.float32(contrast)).astype(np.float32)


def _solve(lines: Image, hold: Image) -> Image:
    """Solve (1 + hold) x = lines along the first axis: a tridiagonal system per column, by Thomas' algorithm.

    lines: (n, 2, m); hold: (n - 1, m).
    """
    count = len(lines)
    out = np.empty(lines.shape, np.float32)
    factor = np.empty(hold.shape, np.float32)
    out[0] = lines[0] / (1 + hold[0])
    factor[0] = hold[0] / (1 + hold[0])
    for i in range(1, count):
        below = hold[i] if i < count - 1 else np.float32(0)
        pivot = 1 / (1 + hold[i - 1] + below - hold[i - 1] * factor[i - 1])
        if i < count - 1:
            factor[i] = below * pivot
        np.multiply(out[i - 1], hold[i - 1], out=out[i])
        out[i] += lines[i]
        out[i] *= pivot
    for i in range(count - 2, -1, -1):
        out[i] += factor[i] * out[i + 1]
    return out
