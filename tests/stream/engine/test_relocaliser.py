"""When a lost camera is looked for, and when its map is given up."""

from __future__ import annotations

from spark3r_stream.engine.relocaliser import ASK_FROM, MOST_TRIES, Relocaliser


def test_it_is_looked_for_after_some_frames_in_a_row() -> None:
    search = Relocaliser()
    for _ in range(ASK_FROM - 1):
        search.missed()
    assert not search.should_ask
    search.missed()
    assert search.should_ask
    search.tracked()
    assert not search.should_ask


def test_a_map_is_given_up_after_pictures_that_show_something() -> None:
    search = Relocaliser()
    for _ in range(50):
        search.answered(recognisable=False)
    assert not search.gives_up, "a covered lens"
    for _ in range(MOST_TRIES):
        assert not search.gives_up
        search.answered(recognisable=True)
    assert search.gives_up
    search.tracked()
    assert not search.gives_up
