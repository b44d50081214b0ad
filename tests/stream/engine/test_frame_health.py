"""A state per frame that tells the truth: confirmed, doubted, lost, and believed again only after proof."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.frame_health import AGREEING_KEYFRAMES, LOST_FRAMES, SETTLING_FRAMES, FrameHealth
from spark3r_stream.wire.messages import TrackingState

GOOD, DOUBTED, LOST = TrackingState.TRACKING, TrackingState.LOW_CONFIDENCE, TrackingState.LOST


def frame(kind: str) -> TrackedFrame:
    """g: good, s: good, but pixels agree so-so, f: good by a guess from features, u: good on a keyframe that features
    do not confirm, b: not aligned, j: good, but unlike the picture before, c: the same so-so."""
    aligned, doubt = kind != "b", "" if kind != "b" else "only 40% of the pixels agree with the keyframe"
    return TrackedFrame(
        1,
        0,
        np.eye(4),
        np.eye(4),
        aligned,
        0.86 if kind in "sc" else 0.9,
        0.9,
        0.9,
        0.0,
        0.0,
        np.eye(6),
        np.eye(3),
        doubt,
        kind == "f",
        kind != "u",
        broken=kind in "cj",
    )


def states(kinds: str, health: FrameHealth | None = None) -> str:
    """T, L or X per frame, after a map has begun."""
    if health is None:
        health = FrameHealth()
        assert health.begin() is DOUBTED
    letters = {GOOD: "T", DOUBTED: "L", LOST: "X"}
    return "".join(letters[health.update(frame(kind))] for kind in kinds)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("ggggg", "LLTTT"),  # a map must prove itself
        ("gggbg", "LLTLT"),  # one dark frame is one dark frame
        ("gggbbgg", "LLTLLTT"),
        ("gggugg", "LLTLTT"),  # its keyframe may lie anywhere
        ("gggf", "LLTT"),  # confirmed by pixels; where it was found first does not matter any more
        ("gggbfg", "LLTLLT"),  # the first after doubt, found by features alone: not yet
        ("gggbsg", "LLTLLT"),  # the first after doubt, and it might be another place: not yet
        ("gggbss", "LLTLLT"),
        ("ggsss", "LLTTT"),
        ("gggcg", "LLTLT"),  # somewhere else that looks much alike: the next one has to confirm it
        ("gggjc", "LLTTL"),  # a leap that pixels confirm
        ("gcg", "LLT"),
        ("gbggg", "LLLTT"),
        ("bggg", "LLLT"),
    ],
)
def test_states_of_a_run(kinds: str, expected: str) -> None:
    assert states(kinds) == expected


def test_many_guesses_in_a_row_are_lost_until_one_is_confirmed() -> None:
    health = FrameHealth()
    health.begin()
    found = states("ggg" + "b" * (LOST_FRAMES + 2), health)
    assert found == "LLT" + "L" * (LOST_FRAMES - 1) + "XXX"
    assert health.is_lost
    assert health.update(frame("g")) is GOOD
    assert not health.is_lost
    assert states("b" * (LOST_FRAMES - 1), health).count("X") == 0, "the count begins anew"


def test_an_interruption_asks_for_proof_again() -> None:
    health = FrameHealth()
    health.begin()
    states("gggg", health)
    health.interrupted()
    assert states("g" * SETTLING_FRAMES, health) == "L" * (SETTLING_FRAMES - 1) + "T"


def test_a_map_that_adjustment_moves_far_is_not_believed_until_keyframes_agree() -> None:
    health = FrameHealth()
    health.begin()
    assert states("ggg", health) == "LLT"
    health.adopted(True)
    health.adopted(None)
    assert states("g", health) == "T"
    health.adopted(False)
    assert states("gg", health) == "LL"
    assert "adjustment moved a keyframe" in health.reason
    health.adopted(None)
    assert states("g", health) == "L", "nobody could say, and so nothing has changed"
    for _ in range(AGREEING_KEYFRAMES - 1):
        health.adopted(True)
        assert states("g", health) == "L"
    health.adopted(True)
    assert states("g", health) == "T"
    health.adopted(False)
    health.begin()
    assert states("ggg", health) == "LLT", "another map"


def test_a_map_that_begins_anew_is_not_lost_any_more() -> None:
    health = FrameHealth()
    health.begin()
    states("ggg" + "b" * LOST_FRAMES, health)
    assert health.begin() is DOUBTED
    assert not health.is_lost
    assert states("ggg", health) == "LLT"


def test_reasons_are_said_in_words_and_go_with_the_doubt() -> None:
    health = FrameHealth()
    health.begin()
    assert "just begun" in health.reason
    health.update(frame("g"))
    assert "just begun" in health.reason
    health.update(frame("g"))
    health.update(frame("g"))
    assert health.reason == ""
    health.update(frame("b"))
    assert health.reason == "only 40% of the pixels agree with the keyframe"
    health.update(frame("f"))
    assert health.reason == "the frame before was not confirmed"
    health.update(frame("g"))
    assert health.reason == ""
    health.interrupted()
    health.update(frame("g"))
    assert "after an interruption" in health.reason


def test_an_interruption_outlives_a_dark_frame() -> None:
    """A dark frame while a camera is proving itself does not shorten the proof."""
    health = FrameHealth()
    health.begin()
    states("ggg", health)
    health.interrupted()
    assert states("bggg", health) == "LLLT"


@pytest.mark.parametrize(
    ("focal_std", "turn", "distance", "expected"),
    [
        (np.inf, 10.0, 0.1, DOUBTED),  # only a network has said it: a third of the turn may be a way
        (np.inf, 1.0, 0.0, GOOD),  # a camera that has hardly turned is where it is
        (0.05, 10.0, 0.02, GOOD),
        (0.05, 20.0, 0.02, DOUBTED),
        (0.05, 20.0, 0.1, GOOD),  # by then it has gone so far that it matters less
        (0.0, 90.0, 0.0, GOOD),  # a camera that was given
    ],
)
def test_a_focal_length_that_is_not_known_makes_distances_doubtful(
    focal_std: float, turn: float, distance: float, expected: TrackingState
) -> None:
    health = FrameHealth()
    assert states("ggg", health)[-1] == "T"
    assert health.update(replace(frame("g"), focal_std=focal_std, turn=turn, distance=distance)) is expected
    assert health.is_confirmed, "it is there all the same"
    assert ("focal length" in health.reason) == (expected is DOUBTED)
    by_gyroscope = replace(frame("g"), focal_std=focal_std, turn=turn, hinted_key_from_camera=np.eye(4))
    assert health.update(by_gyroscope) is GOOD
