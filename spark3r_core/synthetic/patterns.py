"""Periodic grey patterns that materials are made of.

A bank holds PATTERN_COUNT patterns of 256×256 texels with their mip levels. Looking a texture up is far cheaper than
evaluating noise per ray, and mip levels give the anti-aliasing that one ray per pixel lacks. A material colours and
scales two patterns, so a bank of a hundred or so gives many thousand surfaces.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

SIZE = 256
LEVELS = 9
LEVEL_OFFSETS = tuple(sum((SIZE >> k) ** 2 for k in range(level)) for level in range(LEVELS))
TEXELS_PER_PATTERN = sum((SIZE >> k) ** 2 for k in range(LEVELS))
PER_CLASS = 12
CLASSES = (
    "cloud",
    "grain",
    "plain",
    "stripes",
    "tiles",
    "bricks",
    "checker",
    "text",
    "cells",
    "wood",
    "collage",
    "spots",
)
PATTERN_COUNT = PER_CLASS * len(CLASSES)


def pattern_index(name: str, variant: int) -> int:
    """Row of a pattern in its bank."""
    return CLASSES.index(name) * PER_CLASS + variant % PER_CLASS


def _spread(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, [2, 98])
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


@functools.cache
def _frequency() -> np.ndarray:
    """Cycles per pattern (SIZE, SIZE / 2 + 1) of each coefficient of a real two-dimensional spectrum."""
    return np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE) * SIZE, np.fft.rfftfreq(SIZE) * SIZE, indexing="ij"))


def _noise(rng: np.random.Generator, exponent: float, low: float = 1.0) -> np.ndarray:
    """Fractal noise with amplitude 1/f^exponent above `low` cycles per pattern; periodic by construction."""
    frequency = _frequency()
    amplitude = np.where(frequency >= low, np.maximum(frequency, 1.0) ** -exponent, 0.0)
    real, imaginary = rng.standard_normal((2, *amplitude.shape))
    return _spread(np.fft.irfft2(amplitude * (real + 1j * imaginary), s=(SIZE, SIZE)))


def _grid() -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(SIZE) + 0.5) / SIZE
    v, u = np.meshgrid(axis, axis, indexing="ij")
    return u, v


def _stripes(rng: np.random.Generator) -> np.ndarray:
    u, v = _grid()
    edges = np.sort(rng.random(int(rng.integers(6, 24))))
    tones = rng.random(edges.size + 1)
    tones[-1] = tones[0]
    across = u if rng.random() < 0.5 else v
    return np.clip(tones[np.searchsorted(edges, across)] + 0.15 * (_noise(rng, 1.0) - 0.5), 0, 1)


def _tiles(rng: np.random.Generator, offset_rows: bool) -> np.ndarray:
    u, v = _grid()
    across, down = (int(rng.integers(2, 5)), int(rng.integers(4, 9))) if offset_rows else (int(rng.integers(2, 9)),) * 2
    row = np.floor(v * down)
    shifted = u * across + (0.5 * (row % 2) if offset_rows and down % 2 == 0 else 0)
    column = np.floor(shifted) % across
    tone = rng.uniform(0.35, 1.0, (down, across))[row.astype(int), column.astype(int)]
    joint = rng.uniform(0.03, 0.08)
    edge = np.minimum((shifted % 1) / down * across, (v * down) % 1)
    edge = np.minimum(edge, np.minimum((1 - shifted % 1) / down * across, 1 - (v * down) % 1))
    body = tone + rng.uniform(0.1, 0.5) * (_noise(rng, 1.2) - 0.5)
    return np.clip(np.where(edge < joint, rng.uniform(0, 0.2), body), 0, 1)


def _checker(rng: np.random.Generator) -> np.ndarray:
    u, v = _grid()
    n = 2 * int(rng.integers(1, 5))
    board = (np.floor(u * n) + np.floor(v * n)) % 2
    return np.clip(0.1 + 0.8 * board + 0.3 * (_noise(rng, 1.0) - 0.5), 0, 1)


def _text(rng: np.random.Generator) -> np.ndarray:
    """Lines of glyph-like marks made of short bars, with word gaps and the odd heading."""
    page = np.full((SIZE, SIZE), rng.uniform(0.85, 1.0))
    top = int(rng.integers(2, 10))
    while top < SIZE - 12:
        height = int(rng.choice([7, 9, 12, 20, 34], p=[0.3, 0.3, 0.2, 0.12, 0.08]))
        left = int(rng.integers(3, 12))
        while left < SIZE - height and top + height < SIZE:
            if rng.random() < 0.15:
                left += height
                continue
            width, bar = max(4, int(height * 0.6)), max(1, height // 7)
            ink = rng.uniform(0.0, 0.25)
            for _ in range(int(rng.integers(2, 5))):
                if rng.random() < 0.5:
                    x = left + int(rng.choice([0, width // 2, width - bar]))
                    page[top : top + height, x : x + bar] = ink
                else:
                    y = top + int(rng.choice([0, height // 2, height - bar]))
                    page[y : y + bar, left : left + width] = ink
            left += width + max(1, height // 5)
        top += height + max(3, height // 2)
    return page


def _cells(rng: np.random.Generator) -> np.ndarray:
    u, v = _grid()
    count = int(rng.integers(12, 70))
    points, tones = rng.random((count, 2)), rng.random(count)
    square = np.empty((count, *u.shape), np.float32)
    for k, (x, y) in enumerate(
        points
    ):  # distances along rows and columns are shared, so only their sum is two-dimensional
        du, dv = np.abs(u[0] - x), np.abs(v[:, 0] - y)
        square[k] = np.minimum(du, 1 - du) ** 2 + (np.minimum(dv, 1 - dv) ** 2)[:, None]
    owner = square.argmin(axis=0)
    nearest = np.sqrt(np.partition(square, 1, axis=0)[:2])
    return np.clip(tones[owner] * np.clip((nearest[1] - nearest[0]) * count**0.5 * 6, 0, 1), 0, 1)


def _wood(rng: np.random.Generator) -> np.ndarray:
    _, v = _grid()
    boards = int(rng.integers(2, 7))
    board = np.floor(v * boards).astype(int)
    warp = _noise(rng, 2.0) + rng.random(boards)[board] * 7
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (v * int(rng.integers(4, 14)) + warp * 2.5))
    tone = rng.uniform(0.4, 1.0, boards)[board] * (0.6 + 0.3 * rings) + 0.2 * (_noise(rng, 0.8) - 0.5)
    return np.clip(np.where((v * boards) % 1 < 0.03, 0.1, tone), 0, 1)


def _collage(rng: np.random.Generator) -> np.ndarray:
    page = _noise(rng, 1.6) * 0.5 + 0.2
    u, v = _grid()
    for _ in range(int(rng.integers(8, 30))):
        x, y, a, b = rng.random(2).tolist() + rng.uniform(0.03, 0.22, 2).tolist()
        du, dv = np.minimum(np.abs(u - x), 1 - np.abs(u - x)), np.minimum(np.abs(v - y), 1 - np.abs(v - y))
        inside = np.hypot(du / a, dv / b) < 1 if rng.random() < 0.35 else (du < a) & (dv < b)
        page = np.where(inside, rng.random(), page)
    return page


def _spots(rng: np.random.Generator) -> np.ndarray:
    field = _noise(rng, rng.uniform(1.0, 1.8), low=float(rng.integers(3, 12)))
    return np.clip((field - rng.uniform(0.4, 0.65)) * rng.uniform(4, 20) + 0.5, 0, 1)


def _draw(name: str, rng: np.random.Generator) -> np.ndarray:
    if name == "cloud":
        return _noise(rng, rng.uniform(1.3, 2.0))
    if name == "grain":
        return _noise(rng, rng.uniform(0.5, 1.1))
    if name == "plain":
        return 0.5 + rng.uniform(0.02, 0.15) * (_noise(rng, rng.uniform(1.0, 2.0)) - 0.5)
    if name in ("tiles", "bricks"):
        return _tiles(rng, offset_rows=name == "bricks")
    makers = {
        "stripes": _stripes,
        "checker": _checker,
        "text": _text,
        "cells": _cells,
        "wood": _wood,
        "collage": _collage,
    }
    return makers.get(name, _spots)(rng)


@functools.lru_cache(maxsize=4)
def pattern_bank(bank: int) -> torch.Tensor:
    """Bank number `bank`: uint8 (PATTERN_COUNT * TEXELS_PER_PATTERN,), every pattern followed by its mip levels."""
    rng = np.random.default_rng([77, bank])
    rows = []
    for name in CLASSES:
        for _ in range(PER_CLASS):
            level = _draw(name, rng).astype(np.float32)
            for _ in range(LEVELS):
                rows.append(np.round(level * 255).astype(np.uint8).ravel())
                if level.shape[0] > 1:
                    level = level.reshape(level.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))
    return torch.from_numpy(np.concatenate(rows))
