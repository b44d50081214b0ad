"""Token reduction as pure functions on plain tensors, and its schedule as data."""

from spark3r_core.tokens.schedule import Reduction as Reduction
