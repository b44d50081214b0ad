"""Metres per unit of a map: what single pieces of evidence say, and all of them together.

A scale is a factor, so its logarithm is what is estimated: `log_std` 0.01 is one percent. Evidence is joined as factors
of a graph with one node would be, by iteratively reweighted least squares with Cauchy's weight: a tag of the wrong size
or a floor that is a table is outvoted, and what is left disagreeing widens the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spark3r_core.geometry.alignment import weighted_median

MOST_STD = 0.2  # of the logarithm; a scale that is known worse than this is not known
LEAST_STD = 0.001  # of one piece of evidence: nobody measures a printed tag or a height better
CAUCHY = 2.4  # standard deviations at which a piece of evidence counts half
_ROUNDS = 20


@dataclass(frozen=True)
class ScaleEvidence:
    """log_scale: of metres per unit of the map. source: what says so, for people: "tag 36h11:3"."""

    log_scale: float
    log_std: float
    source: str


@dataclass(frozen=True)
class Scale:
    """metres_per_unit of the map. log_std: standard deviation of its logarithm, so relative. source: all that had a
    say, in words."""

    metres_per_unit: float
    log_std: float
    source: str


def joined(evidence: Sequence[ScaleEvidence]) -> Scale | None:
    """What all of it says together; None without any that is good enough to be used."""
    usable = [one for one in evidence if np.isfinite(one.log_scale) and one.log_std <= MOST_STD]
    if not usable:
        return None
    values = np.array([one.log_scale for one in usable])
    stds = np.maximum([one.log_std for one in usable], LEAST_STD)
    centre = weighted_median(values, 1 / stds**2)
    weights = np.ones_like(values)
    for _ in range(_ROUNDS):
        weights = 1 / (1 + np.square((values - centre) / (stds * CAUCHY)))
        information = weights / stds**2
        centre = float(information @ values / information.sum())
    misfit = float(weights @ np.square((values - centre) / stds)) / max(1, len(values) - 1)
    std = float(np.sqrt(max(1.0, misfit) / (weights / stds**2).sum()))
    heard = sorted({one.source for one, weight in zip(usable, weights, strict=True) if weight >= 0.5})
    return Scale(float(np.exp(centre)), std, ", ".join(heard)) if std <= MOST_STD else None
