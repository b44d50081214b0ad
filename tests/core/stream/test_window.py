"""Which frames a window is made of: ids only, so every case is written out."""

from __future__ import annotations

import pytest

from spark3r_core.errors import ImageError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.facts import Capabilities
from spark3r_core.stream.window import Chain, Window, anchors_and_newest

CARRIES = Capabilities(has_reference_frame=True, has_gauge=True, native_long_side=56)
NO_GAUGE = Capabilities(has_reference_frame=False, has_gauge=False, native_long_side=56)


def test_a_map_begins_with_its_first_frames_as_anchors() -> None:
    window = Chain().next_window((4, 5, 6), (), (), MemoryConfig(anchors=2), CARRIES)
    assert window == Window((), (4, 5, 6), frozenset({4, 5}), begins_map=True)
    assert window.reference == 0
    none_stays = Chain().next_window((4, 5), (), (), MemoryConfig(anchors=0), CARRIES)
    assert none_stays.anchors == {4}, "one frame carries the gauge"


def test_anchors_and_newest_run_again_where_the_memory_is_filled_so_or_the_model_has_no_gauge() -> None:
    chain, kept = Chain(5, frozenset({0}), 6), (0, 4, 5)

    def support(config: MemoryConfig, capabilities: Capabilities) -> tuple[int, ...]:
        return chain.next_window((6,), kept, kept, config, capabilities).support

    assert support(MemoryConfig(), CARRIES) == (0, 5)
    assert support(MemoryConfig(support_recent=2), CARRIES) == (0, 4, 5)
    assert support(MemoryConfig.causal(), CARRIES) == ()
    assert support(MemoryConfig.consolidate(), CARRIES) == ()
    assert support(MemoryConfig.consolidate(), NO_GAUGE) == (0, 5)


def test_callers_choose_among_kept_frames() -> None:
    chain = Chain(5, frozenset({0}), 6)
    window = chain.next_window((6,), (0, 4, 5), (0, 3, 4, 5), MemoryConfig(), CARRIES, support=[5, 3, 0])
    assert window.support == (5, 0)
    assert (window.frames, window.reference) == ((5, 0, 6), 1)
    without_anchor = chain.next_window((6,), (0, 4), (0, 4), MemoryConfig(), CARRIES, support=[4])
    assert without_anchor.reference is None


def test_places_of_anchors_that_the_first_window_left_are_filled() -> None:
    config = MemoryConfig(anchors=3)
    begun = Chain().next_window((0,), (), (), config, CARRIES)
    chain = Chain().after(*begun.admitting([0], 3))
    second = chain.next_window((1, 2, 3), (0,), (0,), config, CARRIES)
    assert second.anchors == {0, 1, 2}
    later = chain.next_window((1, 2, 3), (0,), (0, 9), config, CARRIES)
    assert later.anchors == {0}, "only frames that follow at once"


def test_a_link_that_is_over_hands_on_to_the_newest_kept_frame() -> None:
    chain, config = Chain(7, frozenset({0}), 8), MemoryConfig(reanchor_every=7)
    window = chain.next_window((8, 9), (0, 7), (0, 3, 7), config, CARRIES)
    assert window == Window((7,), (8, 9), frozenset({7}), begins_link=True)
    assert chain.after(window, (8, 9)) == Chain(9, frozenset({7}), 2)
    assert not chain.next_window((8,), (0,), (0, 3), config, CARRIES).begins_link, "the anchor cannot follow itself"
    assert not chain.next_window((8,), (0, 7), (0, 7), config, NO_GAUGE).begins_link
    assert not Chain(6, frozenset({0}), 7).next_window((7,), (0, 6), (0, 6), config, CARRIES).begins_link


def test_an_anchor_is_followed_by_whole_windows_only() -> None:
    chain = Chain(7, frozenset({0}), 8)
    link = Window((7,), (8, 9), frozenset({7}), begins_link=True)
    window, admitted = link.admitting([9], 1)
    assert admitted == ()
    assert chain.after(window, admitted) == Chain(9, frozenset({0}), 8), "the next window tries again"
    assert link.admitting([8, 9], 1) == (link, (8, 9))
    within = Window((0, 7), (8, 9), frozenset({0}))
    assert within.admitting([9], 1) == (within, (9,))


def test_a_first_frame_that_failed_is_no_anchor() -> None:
    begun = Window((), (0, 1, 2), frozenset({0}), begins_map=True)
    window, admitted = begun.admitting([1, 2], 1)
    assert (window.anchors, admitted) == ({1}, (1, 2))
    assert Chain().after(window, admitted) == Chain(2, frozenset({1}), 3)
    assert Chain().after(*begun.admitting([], 1)) == Chain(2)


@pytest.mark.parametrize(
    ("anchors", "newest", "expected"),
    [
        ({0}, 0, [0]),
        ({0}, 1, [0, 5]),
        ({0}, 3, [0, 3, 4, 5]),
        ({0}, 4, [0, 3, 4, 5]),
        ({0}, 9, [0, 3, 4, 5]),
        ({0, 3}, 2, [0, 3, 4, 5]),
    ]
    + [({7}, 0, []), ({7}, 1, [5]), ({0, 3, 4, 5}, 2, [0, 3, 4, 5])],
)
def test_anchors_and_newest_are_never_more_than_asked_for(anchors: set[int], newest: int, expected: list[int]) -> None:
    assert anchors_and_newest([5, 0, 3, 4], anchors, newest) == expected


def test_frames_are_counted_on_and_ids_ascend() -> None:
    assert Chain().numbered(2) == (0, 1)
    assert Chain(6).numbered(2) == (7, 8)
    assert Chain(6).numbered(2, [9, 12]) == (9, 12)
    with pytest.raises(ImageError, match="ids \\[6\\] for 1 frames; expected 1 ascending ids from 7 on"):
        Chain(6).numbered(1, [6])
