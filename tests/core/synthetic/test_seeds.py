"""Seeds of training, validation and acceptance never meet."""

from __future__ import annotations

from itertools import combinations

import pytest

from spark3r_core.synthetic.seeds import ACCEPTANCE, TRAIN, VALIDATION, SeedError, assert_trainable, pattern_bank_of


def test_ranges_are_disjoint() -> None:
    for a, b in combinations((TRAIN, VALIDATION, ACCEPTANCE), 2):
        assert max(a.start, b.start) >= min(a.stop, b.stop)
    assert min(len(TRAIN), len(VALIDATION), len(ACCEPTANCE)) >= 100_000


@pytest.mark.parametrize("seed", [0, VALIDATION[0], VALIDATION[-1], ACCEPTANCE[0], ACCEPTANCE[-1], TRAIN[-1] + 1])
def test_held_out_seeds_are_refused(seed: int) -> None:
    with pytest.raises(SeedError, match=str(seed)):
        assert_trainable(seed)


def test_training_seeds_are_accepted_and_share_no_textures_with_held_out_ones() -> None:
    assert_trainable(TRAIN[0])
    assert_trainable(TRAIN[-1])
    banks = [pattern_bank_of(r[0]) for r in (TRAIN, VALIDATION, ACCEPTANCE)]
    assert len(set(banks)) == 3
