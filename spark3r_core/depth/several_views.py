"""A keyframe's depth from the pictures around it: coarse to fine around the network's, with what is sure of it.

1. At a quarter of the pixels a wide sweep around the base depth, smoothed by semi-global matching.
2. What is certain of it bends the base in the large, planes through what is flat, and the rest is spread over.
3. At full size a narrow sweep around that.
4. Confidence of each pixel by how well its views agree; blended with 2 where they do not.
5. Where nothing is sure it is taken over from other keyframes (`checked`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spark3r_core.depth import on_device, planes
from spark3r_core.depth.borrowing import borrowed
from spark3r_core.depth.consistency import Neighbour, agreement
from spark3r_core.depth.fill import spread
from spark3r_core.depth.semi_global import aggregate, choose
from spark3r_core.depth.sweep import sweep
from spark3r_core.depth.views import View
from spark3r_core.photometric import depth_grid

Array = NDArray[np.float64]
Image = NDArray[np.float32]

COARSE_LONG_SIDE = 200  # pixels, at most
RANGE, COARSE_STEPS = 0.55, 37  # log depth on either side of the base, and steps in all
FINE_STEP, FINE_STEPS = 0.0075, 9  # log depth at twice the coarse size; half of it at twice that size
COARSE_WINDOW, FINE_WINDOW = 5, 7  # pixels
PRIOR, PRIOR_AT = 0.05, 0.3  # cost of a step as far from the network as that; more costs no more
COARSE_JUMPS = (0.04, 0.35)  # what a change by one step costs, and a larger one
FINE_JUMPS = (0.03, 0.15)
CONTRAST = 12.0  # grey levels of an edge
ALIKE = (0.6, 0.2)  # costs of windows that are not alike, and that are
UNIQUE = 0.15  # how much worse every other place must be
SURE, LEAST_FOR_BEND, EVERY = 0.3, 200, 3  # how sure a pixel must be to bend the base, how many must, which are taken
SPECK, NO_OFFSET = 40, -32768  # pixels of a speck, at most; what marks one
PLANE = 0.3  # weight of a plane against a sure match
REACH, FINE_REACH = 6.0, 4.0  # pixels that offsets spread, at half of the size they are of in the fine case
EDGE = 8.0  # grey levels over which they do so e times less
BACKGROUND = 1e-3  # weight of no offset
UNMATCHED, MATCHED = 0.1, 0.5
NO_EVIDENCE, EVIDENCE, MOST_SAID = -1.5, (2.0, 2.8, 1.5, -0.8), 1.5  # of sure, flat, support, conflict


@dataclass(frozen=True)
class Surface:
    """A keyframe's surface, (H, W) each, and what speaks for it.

    depth: in the unit of the base, known everywhere. matched: how far several pictures agree on it there. sure: how far
    they agree in the large; flat: how far it lies on a plane whose rim is sure. confidence: probability that depth is
    right to 3 percent, by those and, once `checked`, by other keyframes.
    """

    depth: Image
    matched: Image
    sure: Image
    flat: Image
    confidence: Image


def refine(
    grey: NDArray[np.uint8],
    intrinsics: Array,
    base: Image,
    views: Sequence[View],
    device: torch.device | None = None,
    *,
    coarse: bool = False,
) -> Surface:
    """A keyframe's surface.

    Args:
        grey: (H, W) uint8; intrinsics: (3, 3) of it.
        base: (H, W) the network's depth, positive, seen at that size.
        views: pictures around it; none gives the base, of which nothing is sure.
        device: what is swept and smoothed on by torch; None: this processor, by OpenCV and numpy.
        coarse: leave the narrow sweeps away, which takes half of the time; the surface is of the coarse size then.
    """
    if not views:
        nothing = np.zeros_like(base)
        return Surface(base, nothing, nothing, nothing, _probability(nothing, nothing, nothing, nothing))
    pyramid = [(grey, intrinsics, list(views))]
    while max(pyramid[-1][0].shape) > COARSE_LONG_SIDE:
        pyramid.append(_half(*pyramid[-1]))
    log_ratio, sure, flat = _coarse(*pyramid[-1], _resized(base, pyramid[-1][0].shape), device)
    matched, step = sure, FINE_STEP
    levels = pyramid[-1:] if coarse else pyramid
    for level in reversed(levels[:-1]):
        size = level[0].shape
        start = _resized(log_ratio, size)
        fine, likeness = _fine(*level, _resized(base, size) * np.exp(start), step, device)
        matched = likeness * _resized(sure, size)
        log_ratio = start + _spread_where_matched(fine, matched, level[0])
        step /= 2
    found_hw = levels[0][0].shape
    sure, flat = _resized(sure, found_hw), _resized(flat, found_hw)
    nothing = np.zeros_like(sure)
    depth = np.asarray(_resized(base, found_hw) * np.exp(log_ratio), np.float32)
    return Surface(depth, matched, sure, flat, _probability(sure, flat, nothing, nothing))


def checked(surface: Surface, grey: NDArray[np.uint8], intrinsics: Array, others: Sequence[Neighbour]) -> Surface:
    """A surface held against those of other keyframes: what is unsure is taken over from them, the rest is the mean of
    what agrees; confidence is by who does."""
    shift = borrowed(surface.depth, np.maximum(surface.sure, surface.matched), grey, intrinsics, others)
    depth = np.asarray(surface.depth * np.exp(_resized(shift, grey.shape)), np.float32)
    found = agreement(depth, surface.matched, intrinsics, others)
    depth = np.asarray(depth * np.exp(found.log_shift), np.float32)
    confidence = _probability(surface.sure, surface.flat, found.support, found.conflict)
    return replace(surface, depth=depth, confidence=confidence)


def _probability(sure: Image, flat: Image, support: Image, conflict: Image) -> Image:
    """(H, W) that the depth is right to 3 percent: logistic, fitted on synthetic worlds (tools/eval_depth.py)."""
    weights = zip(EVIDENCE, (sure, flat, np.minimum(support, MOST_SAID), np.minimum(conflict, MOST_SAID)), strict=True)
    odds = sum((np.float32(weight) * evidence for weight, evidence in weights), np.float32(NO_EVIDENCE))
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def _coarse(
    grey: NDArray[np.uint8], intrinsics: Array, views: list[View], base: Image, device: torch.device | None
) -> tuple[Image, Image, Image]:
    """(H, W) each: log of the surface's depth over the base's, how sure its matches are, how far it is a plane."""
    steps = np.linspace(-RANGE, RANGE, COARSE_STEPS)
    cost = _swept(grey, intrinsics, views, _inverse(base), steps, COARSE_WINDOW, device)
    cost += (PRIOR * np.minimum(np.square(steps / PRIOR_AT), 1)).astype(np.float32)[:, None, None]
    total = _smoothed(cost, grey, COARSE_JUMPS, device)
    offset, number = choose(total, steps)
    sure = np.asarray(_likeness(cost, number) * _uniqueness(total, number), np.float32)
    sure[_specks(offset, float(steps[1] - steps[0]))] = 0
    completed, flat = _completed(offset, sure, base, grey)
    return completed, sure, flat


def _swept(
    grey: NDArray[np.uint8],
    intrinsics: Array,
    views: list[View],
    inverse_depth: Image,
    steps: Array,
    window: int,
    device: torch.device | None,
) -> Image:
    if device is None:
        return sweep(grey, intrinsics, views, inverse_depth, steps, window)
    return on_device.sweep(grey, intrinsics, views, inverse_depth, steps, window, device)


def _smoothed(cost: Image, grey: NDArray[np.uint8], jumps: tuple[float, float], device: torch.device | None) -> Image:
    if device is None:
        return aggregate(cost, grey, *jumps, CONTRAST)
    return on_device.aggregate(cost, grey, *jumps, CONTRAST, device)


def _specks(offset: Image, step: float) -> NDArray[np.bool_]:
    """(H, W) pixels of pieces that are too small to be believed, and no part of what is around them."""
    sixteenths = np.asarray(np.rint(offset * (16 / step)), np.int16)
    cv2.filterSpeckles(sixteenths, NO_OFFSET, SPECK, 16)
    return np.asarray(sixteenths == NO_OFFSET)


def _completed(offset: Image, sure: Image, base: Image, grey: NDArray[np.uint8]) -> tuple[Image, Image]:
    """Offsets where they are sure; elsewhere by planes, by their neighbours, and by the base bent to what is sure.

    Returns them, (H, W), and how far each lies on a plane.
    """
    height, width = grey.shape
    known = sure > SURE
    bend = np.zeros_like(offset)
    if known.sum() > LEAST_FOR_BEND:
        rows, columns = (index[::EVERY] for index in np.nonzero(known))
        places = np.stack([(columns + 0.5) / width, (rows + 0.5) / height], -1)
        log_scale, nodes, _ = depth_grid.fit(offset[rows, columns].astype(np.float64), places)
        bend = np.log(depth_grid.factors(nodes, height, width)) + np.float32(log_scale)
    weight = np.where(known, sure, 0)
    inverse_plane, flat = planes.flattened(_inverse(base * np.exp(offset)), _inverse(base * np.exp(bend)), weight, grey)
    on_plane = -np.log(np.where(flat > 0, inverse_plane * base, 1))
    by_plane = PLANE * flat
    target = (weight * offset + by_plane * on_plane) / np.maximum(weight + by_plane, 1e-9)
    weight = np.maximum(weight, by_plane)
    near = spread(target - bend, weight, grey, REACH**2, EDGE, BACKGROUND) + bend
    return np.asarray(weight * target + (1 - weight) * near, np.float32), flat


def _fine(
    grey: NDArray[np.uint8],
    intrinsics: Array,
    views: list[View],
    surface: Image,
    step: float,
    device: torch.device | None,
) -> tuple[Image, Image]:
    """(H, W) log of depth over the surface's, and how well the views agree."""
    steps = np.asarray((np.arange(FINE_STEPS) - FINE_STEPS // 2) * step, np.float64)
    cost = _swept(grey, intrinsics, views, _inverse(surface), steps, FINE_WINDOW, device)
    total = _smoothed(cost, grey, FINE_JUMPS, device)
    offset, number = choose(total, steps)
    return offset, _likeness(cost, number)


def _spread_where_matched(fine: Image, matched: Image, grey: NDArray[np.uint8]) -> Image:
    """(H, W) fine offsets where they are matched; elsewhere those of their neighbours."""
    weight = np.clip((matched - UNMATCHED) / (MATCHED - UNMATCHED), 0, 1)
    size = (grey.shape[0] // 2, grey.shape[1] // 2)  # they are smooth: half of the size will do
    value, trust = _resized(fine * matched, size), _resized(matched, size)
    small = np.asarray(cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    known = np.asarray(value / np.maximum(trust, np.float32(1e-6)), np.float32)
    near = _resized(spread(known, trust * trust, small, FINE_REACH**2, EDGE, BACKGROUND), grey.shape)
    return np.asarray(weight * fine + (1 - weight) * near, np.float32)


def _likeness(cost: Image, number: NDArray[np.int64]) -> Image:
    """(H, W) how alike the views are at the chosen step, 0 to 1."""
    here = np.take_along_axis(cost, number[None], 0)[0]
    return np.clip((ALIKE[0] - here) / (ALIKE[0] - ALIKE[1]), 0, 1)


def _uniqueness(total: Image, number: NDArray[np.int64]) -> Image:
    """(H, W) how much worse every other place is, 0 to 1."""
    here = np.take_along_axis(total, number[None], 0)[0]
    away = np.abs(np.arange(len(total))[:, None, None] - number[None]) > 2
    return np.clip((np.where(away, total, np.inf).min(0) - here) / UNIQUE, 0, 1)


def _half(grey: NDArray[np.uint8], intrinsics: Array, views: list[View]) -> tuple[NDArray[np.uint8], Array, list[View]]:
    smaller = [View(*_half_picture(view.grey, view.intrinsics), view.camera_from_key) for view in views]
    return *_half_picture(grey, intrinsics), smaller


def _half_picture(grey: NDArray[np.uint8], intrinsics: Array) -> tuple[NDArray[np.uint8], Array]:
    height, width = grey.shape
    size_wh = (width // 2, height // 2)
    small = cv2.resize(grey, size_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.diag([size_wh[0] / width, size_wh[1] / height, 1.0]) @ intrinsics


def _inverse(depth: Image) -> Image:
    return np.asarray(1 / depth, np.float32)


def _resized(image: Image, size_hw: tuple[int, ...]) -> Image:
    if image.shape == size_hw:
        return image
    shrinks = size_hw[0] < image.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size_hw[::-1], interpolation=way), np.float32)
