"""What other sensors said is checked where decisions are read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark3r_core.metric.gps import PositionFix
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.errors import WireError
from spark3r_stream.recording.records import FrameTime, decode_decisions, encode_decisions
from spark3r_stream.recording.schema import check_decisions
from tests.helpers_wire import START_NS
from tests.stream.recording.small_recording import HINT, make_decisions

FIX = PositionFix(1_250_000_000, (48.1, 11.5, 520.0), 2.5)


@pytest.mark.parametrize(
    "hint",
    [
        replace(HINT, quat_xyzw=(0.0, 0.6, 0.0, 0.9)),
        replace(HINT, position_xyz=(float("nan"), 0.0, 0.0)),
        replace(HINT, quat_xyzw=(float("inf"), 0.0, 0.0, 0.0)),
        replace(HINT, variances=(-1.0, 0.0)),
        replace(HINT, variances=(float("nan"), 0.0)),
    ],
)
def test_a_hint_that_is_none_is_refused(hint: MotionHint) -> None:
    decisions = replace(make_decisions(0), new_frames=(FrameTime(3, 1, 100, START_NS, 5, hint),))
    with pytest.raises(ValueError, match="of a hint"):
        check_decisions(decode_decisions(encode_decisions(decisions)))


@pytest.mark.parametrize(
    "fix",
    [
        replace(FIX, position=(float("nan"), 0.0, 0.0)),
        replace(FIX, position=(1e10, 0.0, 0.0)),
        replace(FIX, std_m=-1.0),
        replace(FIX, std_m=float("inf")),
    ],
)
def test_a_fix_that_is_none_is_refused(fix: PositionFix) -> None:
    decisions = replace(make_decisions(0), new_frames=(FrameTime(3, 1, 100, START_NS, 5, fixes=(FIX, fix)),))
    with pytest.raises(ValueError, match="of a fix"):
        check_decisions(decode_decisions(encode_decisions(decisions)))


def test_a_flood_of_fixes_is_refused() -> None:
    decisions = replace(make_decisions(0), new_frames=(FrameTime(3, 1, 100, START_NS, 5, fixes=(FIX,) * 65),))
    with pytest.raises(WireError, match="65 fixes of a frame"):
        decode_decisions(encode_decisions(decisions))
