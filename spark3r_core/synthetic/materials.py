"""Surface materials: which two patterns, at which scale, in which colours. Chosen to look like things people build
with.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from spark3r_core.synthetic.patterns import PER_CLASS, pattern_index

MATERIAL_ROWS = 19


@dataclass(frozen=True)
class Material:
    """Albedo = palette(pattern A) × (1 + strength × (pattern B − ½)); colours are linear RGB in [0, 1]."""

    pattern: int
    repeats_per_unit: float
    detail: int
    detail_repeats_per_unit: float
    detail_strength: float
    offset_uv: tuple[float, float]
    colours: tuple[tuple[float, float, float], ...]  # three: at pattern value 0, ½ and 1
    gloss: float
    glow: float

    def rows(self) -> list[float]:
        """The MATERIAL_ROWS numbers the renderer gathers per ray."""
        flat = [c for colour in self.colours for c in colour]
        scales = [self.pattern, self.repeats_per_unit, self.detail, self.detail_repeats_per_unit, self.detail_strength]
        return [*scales, *self.offset_uv, *flat, self.gloss, self.glow, 0.0]


def _colour(rng: np.random.Generator, hue, saturation, value) -> tuple[float, float, float]:
    h, s, v = (rng.uniform(*x) for x in (hue, saturation, value))
    return colorsys.hsv_to_rgb(h % 1.0, float(np.clip(s, 0, 1)), float(np.clip(v, 0.02, 1)))


def _make(
    rng: np.random.Generator,
    classes: str,
    span: tuple[float, float],
    palette: tuple,
    detail: str = "grain cloud",
    strength: tuple[float, float] = (0.1, 0.5),
    gloss: float = 0.0,
    glow: float = 0.0,
) -> Material:
    """`span` is the range of sizes, in model units, of one repeat of the main pattern."""
    size = float(np.exp(rng.uniform(np.log(span[0]), np.log(span[1]))))
    return Material(
        pattern=pattern_index(str(rng.choice(classes.split())), int(rng.integers(PER_CLASS))),
        repeats_per_unit=1.0 / size,
        detail=pattern_index(str(rng.choice(detail.split())), int(rng.integers(PER_CLASS))),
        detail_repeats_per_unit=1.0 / (size * rng.uniform(0.25, 0.6)),
        detail_strength=rng.uniform(*strength),
        offset_uv=(rng.uniform(), rng.uniform()),
        colours=palette,
        gloss=gloss,
        glow=glow,
    )


def _tones(rng: np.random.Generator, hue, saturation, dark, light) -> tuple:
    """Dark, middle, light of nearly one hue."""
    base = rng.uniform(*hue)
    spread = (base - 0.03, base + 0.03)
    middle = ((dark[0] + light[0]) / 2, (dark[1] + light[1]) / 2)
    return tuple(_colour(rng, spread, saturation, value) for value in (dark, middle, light))


def _gaudy(rng: np.random.Generator, saturation=(0.2, 0.9), value=(0.05, 1.0)) -> tuple:
    return tuple(_colour(rng, (0, 1), saturation, value) for _ in range(3))


def wall(rng: np.random.Generator) -> Material:
    """Painted (little texture), papered, tiled, brick or stained walls."""
    pick = rng.random()
    if pick < 0.45:
        return painted(rng)
    if pick < 0.56:
        palette = _tones(rng, (0, 1), (0.05, 0.5), (0.3, 0.6), (0.6, 0.95))
        return _make(rng, "stripes spots cells", (0.8, 2.0), palette, strength=(0.05, 0.3))
    if pick < 0.68:
        return _make(rng, "bricks", (0.7, 1.6), _tones(rng, (0.0, 0.1), (0.1, 0.6), (0.15, 0.4), (0.5, 0.85)))
    if pick < 0.82:
        return _make(rng, "tiles", (0.8, 2.0), _tones(rng, (0, 1), (0.0, 0.4), (0.2, 0.5), (0.7, 1.0)), gloss=0.3)
    if pick < 0.92:
        return _make(rng, "cloud spots", (1.0, 4.0), _tones(rng, (0, 1), (0.0, 0.4), (0.2, 0.5), (0.6, 0.9)))
    return _make(rng, "wood", (0.8, 2.0), _tones(rng, (0.04, 0.12), (0.3, 0.7), (0.15, 0.35), (0.5, 0.8)))


def painted(rng: np.random.Generator) -> Material:
    """Nearly one tone: what gives a camera least to hold on to."""
    tone = rng.uniform(0.5, 0.95)
    palette = _tones(rng, (0, 1), (0.0, rng.uniform(0.03, 0.3)), (tone - 0.12, tone - 0.05), (tone, tone + 0.05))
    return _make(rng, "plain plain cloud", (1.5, 4.0), palette, detail="grain plain cloud", strength=(0.02, 0.2))


def ceiling(rng: np.random.Generator) -> Material:
    palette = _tones(rng, (0, 1), (0.0, 0.12), (0.55, 0.8), (0.75, 1.0))
    return _make(rng, "plain tiles cloud plain", (1.2, 3.0), palette, strength=(0.03, 0.3))


def floor(rng: np.random.Generator) -> Material:
    pick = rng.random()
    if pick < 0.35:
        return _make(rng, "wood", (0.8, 2.0), _tones(rng, (0.03, 0.12), (0.3, 0.8), (0.1, 0.3), (0.4, 0.8)), gloss=0.2)
    if pick < 0.65:
        palette = _tones(rng, (0, 1), (0.0, 0.4), (0.1, 0.4), (0.5, 0.95))
        return _make(rng, "tiles checker cells", (0.9, 2.5), palette, gloss=0.2)
    if pick < 0.85:
        return _make(rng, "grain cloud spots", (0.8, 3.0), _tones(rng, (0, 1), (0.0, 0.4), (0.15, 0.4), (0.4, 0.8)))
    return _make(rng, "bricks cells", (0.8, 2.0), _tones(rng, (0, 0.15), (0.0, 0.4), (0.2, 0.4), (0.5, 0.8)))


def furniture(rng: np.random.Generator) -> Material:
    pick = rng.random()
    if pick < 0.35:
        return _make(rng, "wood", (0.4, 1.2), _tones(rng, (0.02, 0.12), (0.2, 0.8), (0.1, 0.4), (0.35, 0.9)), gloss=0.3)
    if pick < 0.8:
        tone = rng.uniform(0.1, 0.95)
        palette = _tones(rng, (0, 1), (0.0, rng.choice([0.15, 0.9])), (tone - 0.1, tone - 0.05), (tone, tone + 0.1))
        return _make(rng, "plain cloud grain", (0.4, 1.5), palette, strength=(0.05, 0.3), gloss=rng.uniform(0, 0.5))
    return _make(rng, "collage stripes tiles cells spots checker", (0.4, 1.2), _gaudy(rng))


def cloth(rng: np.random.Generator) -> Material:
    return _make(
        rng, "grain stripes spots collage checker cells", (0.3, 1.5), _gaudy(rng, (0.1, 0.8)), strength=(0.2, 0.7)
    )


def small(rng: np.random.Generator) -> Material:
    return _make(rng, "plain text collage stripes grain checker spots", (0.1, 0.4), _gaudy(rng), gloss=0.3)


def books(rng: np.random.Generator) -> Material:
    return _make(rng, "stripes", (0.3, 0.6), _gaudy(rng), detail="text collage", strength=(0.2, 0.8))


def picture(rng: np.random.Generator) -> Material:
    if rng.random() < 0.5:
        ink = _colour(rng, (0, 1), (0, 0.9), (0.02, 0.4))
        paper = _colour(rng, (0, 1), (0, 0.3), (0.75, 1.0))
        return _make(rng, "text", (0.5, 1.2), (ink, ink, paper), strength=(0.0, 0.2))
    return _make(
        rng, "collage cells cloud spots", (0.5, 1.5), _gaudy(rng), detail="collage text grain", strength=(0.1, 0.9)
    )


def window(rng: np.random.Generator) -> Material:
    palette = _tones(rng, (0.5, 0.7), (0.0, 0.35), (0.5, 0.8), (0.85, 1.0))
    return _make(rng, "tiles cloud", (1.0, 2.5), palette, strength=(0.0, 0.2), glow=rng.uniform(0.3, 1.0))


def leaf(rng: np.random.Generator) -> Material:
    return _make(rng, "grain spots cells", (0.3, 1.0), _tones(rng, (0.2, 0.4), (0.3, 0.8), (0.05, 0.2), (0.3, 0.7)))


def bark(rng: np.random.Generator) -> Material:
    return _make(rng, "grain wood", (0.3, 0.8), _tones(rng, (0.05, 0.1), (0.2, 0.5), (0.1, 0.25), (0.3, 0.6)))


def plain(rng: np.random.Generator) -> Material:
    return _make(
        rng,
        "plain cloud grain",
        (0.5, 2.0),
        _tones(rng, (0, 1), (0.0, 0.3), (0.2, 0.6), (0.5, 0.95)),
        strength=(0.05, 0.4),
    )


def facade(rng: np.random.Generator) -> Material:
    """Rows of windows in a wall, or a wall without any."""
    if rng.random() < 0.7:
        palette = _tones(rng, (0.0, 0.16), (0.0, 0.45), (0.05, 0.4), (0.5, 0.95))
        return _make(rng, "tiles tiles checker stripes", (5.0, 18.0), palette, detail="bricks grain tiles cloud")
    return _make(rng, "bricks cloud plain", (2.0, 6.0), _tones(rng, (0, 0.15), (0.0, 0.5), (0.2, 0.5), (0.5, 0.9)))


def road(rng: np.random.Generator) -> Material:
    return _make(rng, "grain cloud stripes", (1.0, 6.0), _tones(rng, (0, 1), (0.0, 0.1), (0.15, 0.4), (0.3, 0.7)))


def ground(rng: np.random.Generator) -> Material:
    """Grass, earth, sand or gravel."""
    palette = _tones(rng, (0.06, 0.38), (0.1, 0.7), (0.15, 0.45), (0.35, 0.85))
    return _make(rng, "grain cloud spots", (2.0, 12.0), palette, strength=(0.2, 0.7))


def hill(rng: np.random.Generator) -> Material:
    """What distance leaves of woods and rock: little contrast."""
    tone = rng.uniform(0.35, 0.75)
    return _make(
        rng, "cloud grain", (10.0, 60.0), _tones(rng, (0.1, 0.65), (0.05, 0.4), (tone - 0.1, tone), (tone, tone + 0.1))
    )


def sky(rng: np.random.Generator) -> Material:
    """What is seen above an open court, looked up by direction; it glows by itself and is infinitely far."""
    blue = _colour(rng, (0.52, 0.65), (0.1, 0.6), (0.5, 0.95))
    white = _colour(rng, (0.5, 0.7), (0.0, 0.1), (0.8, 1.0))
    middle = tuple((a + b) / 2 for a, b in zip(blue, white, strict=True))
    return _make(rng, "cloud", (1.5, 4.0), (blue, middle, white), detail="cloud", strength=(0.0, 0.2), glow=1.0)
