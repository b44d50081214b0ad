"""Evenly spread samples of streams of unknown length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spark3r_stream.thinned import Thinned


@given(st.integers(2, 20), st.integers(0, 300))
def test_thinning_keeps_an_even_bounded_sample(limit: int, count: int) -> None:
    kept: Thinned[int] = Thinned(limit)
    for item in range(count):
        expected = kept.wants_next()
        before = set(kept.items())
        kept.add(item)
        assert expected or set(kept.items()) == before
    items = kept.items()
    assert items == list(range(0, count, kept.stride))
    assert len(items) <= limit
    assert count <= limit or len(items) >= limit // 2
    assert kept.last == (count - 1 if count else None)
