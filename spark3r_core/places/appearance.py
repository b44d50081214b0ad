"""One vector per picture, by which pictures of one place are found among many: VLAD of its local features.

Jégou, Douze, Schmid, Pérez, *Aggregating local descriptors into a compact image representation*, 2010; powers and
intra-normalisation: Arandjelović, Zisserman, *All about VLAD*, 2013. The words are learned from the pictures of
the map itself: nothing is shipped, and the same map has the same words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WORDS = 64
LEAST_DESCRIPTORS = 20 * WORDS  # to learn words from
ROUNDS = 12  # of k-means
MOST_DESCRIPTORS = 4000  # that it is worth learning from


def learned_words(descriptors: Floats) -> Floats:
    """(WORDS, 128) by k-means of descriptors (N, 128), N >= LEAST_DESCRIPTORS; the same for the same input."""
    rng = np.random.default_rng(0)
    words = descriptors[rng.choice(len(descriptors), WORDS, replace=False)]
    for _ in range(ROUNDS):
        belongs = (_nearest(descriptors, words) == np.arange(WORDS)[:, None]).astype(np.float32)
        counts = belongs.sum(1, keepdims=True)
        words = np.where(counts > 0, belongs @ descriptors / np.maximum(counts, 1), words).astype(np.float32)
    return words


def summary_of(descriptors: Floats, words: Floats) -> Floats:
    """(WORDS * 128,) of unit length: what the descriptors (N, 128) of a picture are beside their words."""
    of_word = _nearest(descriptors, words)
    sums = np.zeros_like(words)
    for word in range(len(words)):
        mine = descriptors[of_word == word]
        if len(mine):
            sums[word] = (mine - words[word]).sum(0)
    sums = np.sign(sums) * np.sqrt(np.abs(sums))
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    flat = sums.ravel()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-12), np.float32)


def _nearest(descriptors: Floats, words: Floats) -> NDArray[np.int64]:
    """(N,) word of each descriptor, by Euclidean distance."""
    return np.asarray((np.square(words).sum(1) - 2 * descriptors @ words.T).argmin(1), np.int64)
