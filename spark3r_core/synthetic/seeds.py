"""Which seeds may be trained on. A world is a pure function of its seed, so keeping seeds apart keeps worlds apart."""

from __future__ import annotations

from spark3r_core.errors import Spark3rError

TRAIN = range(1_000_000, 2_000_000_000)
VALIDATION = range(100_000, 200_000)
ACCEPTANCE = range(200_000, 300_000)
# Seeds below 100,000 are for people, tests and `synthetic:` sources; they are not trained on either.


class SeedError(Spark3rError):
    """A seed outside the range it was used for."""


def assert_trainable(seed: int) -> None:
    """Raise SeedError unless `seed` lies in TRAIN."""
    if seed not in TRAIN:
        raise SeedError(
            f"seed {seed} must not be trained on: expected {TRAIN.start} <= seed < {TRAIN.stop} "
            "(lower seeds are reserved for validation, acceptance and examples)"
        )


def pattern_bank_of(seed: int) -> int:
    """Index of the texture bank of a world: held-out worlds show textures that no training world has."""
    if seed in VALIDATION:
        return 1
    return 2 if seed in ACCEPTANCE else 0
