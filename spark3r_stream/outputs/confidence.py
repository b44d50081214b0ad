"""A confidence threshold that follows the stream: a quantile over recent frames, not of each frame on its own.

A quantile per frame would keep as much of a blurred frame as of a sharp one; an absolute value means something else
for every network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BINS = 400
_MAX_LOGIT = 10.0


class AdaptiveThreshold:
    """quantile: share of points to reject, in [0, 1). half_life: frames after which a frame counts half."""

    def __init__(self, quantile: float = 0.25, half_life: float = 100.0) -> None:
        if not 0.0 <= quantile < 1.0:
            raise ValueError(f"quantile is {quantile}; expected 0 up to but not including 1")
        self._quantile = quantile
        self._decay = 0.5 ** (1.0 / half_life)
        self._histogram = np.zeros(_BINS)

    def keep(self, confidence: ArrayLike) -> NDArray[np.bool_]:
        """Take in one frame's confidences (n,) in (0, 1) and say which of them pass; NaN never does."""
        confidence = np.asarray(confidence, np.float64)
        bins = _bin(confidence)
        finite = np.isfinite(confidence)
        # Every frame weighs the same, however many points it has.
        counts = np.bincount(bins[finite], minlength=_BINS) / max(1, int(finite.sum()))
        self._histogram = self._histogram * self._decay + counts
        cumulative = np.cumsum(self._histogram)
        threshold = int(np.searchsorted(cumulative, self._quantile * cumulative[-1], side="right"))
        return finite & (bins >= min(threshold, _BINS - 1))


def _bin(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bins of equal width in log-odds: networks crowd near 1, where bins of equal confidence would see one value."""
    clipped = np.clip(np.nan_to_num(confidence), 1e-6, 1 - 1e-6)
    logit = np.log(clipped / (1 - clipped))
    scaled = (logit + _MAX_LOGIT) / (2 * _MAX_LOGIT) * _BINS
    return np.clip(scaled, 0, _BINS - 1).astype(np.int64)
