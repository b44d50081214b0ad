"""Times and losses of pictures, from stamps and packets that mean something else."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark3r_stream.errors import EndOfStream
from spark3r_stream.sources import SourceOptions, open_source
from spark3r_stream.sources.decode import ContainerDecoder
from spark3r_stream.sources.losses import MAX_INSIDE, LostPictures
from spark3r_stream.sources.timing import PictureTimes, ticks_to_ns
from spark3r_stream.stats import DropCounter
from tests.helpers import FakeClock

CASES = Path(__file__).parents[2] / "data" / "cases"
MS = 1_000_000


def read_all(path: Path) -> tuple[list, dict, object]:
    source = open_source(str(path), SourceOptions(), FakeClock())
    frames = []
    while True:
        try:
            frames.append(source.read())
        except EndOfStream:
            return frames, source.drops.total(), source.info


@pytest.mark.parametrize("name", ["bf.avi", "same_frames.mp4", "ptsdts.mkv", "glitchhi.mkv", "vp8_altref.webm"])
def test_nothing_is_lost_and_every_frame_is_a_thirtieth_apart(name):
    frames, drops, info = read_all(CASES / name)
    assert (len(frames), drops) == (48, {})
    assert info.nominal_fps == pytest.approx(30, abs=0.01)
    assert info.frame_count in (48, None)
    assert [f.pts_ns / MS for f in frames] == pytest.approx([i * 1000 / 30 for i in range(48)], abs=1.0)


def test_wrong_stamps_do_not_change_pictures():
    truth, others = read_all(CASES / "same_frames.mp4")[0], read_all(CASES / "bf.avi")[0]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(truth, others, strict=True))


@pytest.mark.parametrize("name", ["bf.avi", "same_frames.mp4", "ptsdts.mkv", "glitchhi.mkv", "vp8_altref.webm"])
def test_nothing_is_lost_live_either(name):
    drops = DropCounter()
    decoder = ContainerDecoder(str(CASES / name), drops, single_thread=True, low_delay=True)
    times_ns = []
    while True:
        try:
            times_ns.append(decoder.read().pts_ns)
        except EndOfStream:
            break
    assert (len(times_ns), drops.total()) == (48, {})
    assert all(b > a for a, b in itertools.pairwise(times_ns))
    assert times_ns[-1] < 2000 * MS


# stamps


def times_ms(
    pts: list[int | None], dts: list[int | None] | None = None, fps: float | None = 10.0, ahead: int = 8
) -> list[int]:
    """Times of pictures with stamps in ms, of which `ahead` are known before one's time is asked for."""
    times = PictureTimes(fps)
    found, asked = [], 0
    for number, (p, d) in enumerate(zip(pts, dts or [None] * len(pts), strict=True)):
        times.see(ticks_to_ns(p, Fraction(1, 1000)), ticks_to_ns(d, Fraction(1, 1000)))
        if number - asked >= ahead:
            found.append(times.next() // MS)
            asked += 1
    while asked < len(pts):
        found.append(times.next() // MS)
        asked += 1
    return found


@pytest.mark.parametrize("ahead", [0, 8])
class TestWithAndWithoutLookingAhead:
    def test_times_begin_at_zero_and_keep_gaps(self, ahead):
        assert times_ms([700, 800, 950, 5000], ahead=ahead) == [0, 100, 250, 4300]

    def test_missing_times_continue_by_the_nominal_rate(self, ahead):
        assert times_ms([None, None, 1200, 1300], ahead=ahead) == [0, 100, 200, 300]
        assert times_ms([0, None, None, 400], ahead=ahead) == [0, 100, 200, 400]
        assert times_ms([None, None], fps=None, ahead=ahead) == [0, 33]

    def test_a_restarted_or_wrapped_clock_carries_on(self, ahead):
        assert times_ms([1000, 1100, 0, 100, 200], ahead=ahead) == [0, 100, 200, 300, 400]
        wrap = 2**33 // 90
        out = times_ms([p % wrap for p in range(wrap - 60, wrap + 60, 30)], fps=33.3, ahead=ahead)
        assert np.diff(out) == pytest.approx(np.full(3, 30), abs=1)

    @pytest.mark.parametrize("wild", [90_000_000, -90_000_000])
    @pytest.mark.parametrize("place", [1, 5, 18])
    def test_one_wild_stamp_moves_no_other(self, ahead, wild, place):
        pts: list[int | None] = [i * 100 for i in range(20)]
        pts[place] = wild
        out = times_ms(pts, ahead=ahead)
        assert [t for i, t in enumerate(out) if i != place] == [i * 100 for i in range(20) if i != place]
        assert out[place] == pytest.approx(place * 100, abs=51)

    def test_a_long_gap_that_the_rest_confirms_stays(self, ahead):
        pts: list[int | None] = [0, 100, 200, 7_200_000, 7_200_100, 7_200_200, 7_200_300]
        assert times_ms(pts, ahead=ahead)[4:] == pts[4:]


def test_a_first_stamp_far_from_all_others_is_not_where_time_begins():
    rest = [i * 100 for i in range(1, 12)]
    assert times_ms([-90_000_000, *rest]) == [0, *rest]
    assert times_ms([90_000_000, *rest]) == [0, *rest]


def test_a_long_gap_is_exact_where_one_can_look_ahead():
    pts: list[int | None] = [0, 100, 200, 7_200_000, 7_200_100, 7_200_200]
    assert times_ms(pts) == pts


def test_disordered_presentation_times_give_way_to_decoding_times():
    pts: list[int | None] = [20, 80, 60, 100, 40, 160, 140, 180, 120, 240, 220, 260, 200]
    dts: list[int | None] = [40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 240, 260, None]
    assert times_ms(pts, dts, fps=50) == [i * 20 for i in range(13)]


def test_good_presentation_times_stay_though_decoding_times_are_disordered():
    pts: list[int | None] = [0, 30, 70, 100, 150, 170, 200, 230, 270, 300]
    dts: list[int | None] = [0, 70, 30, 150, 100, 200, 170, 270, 230, 250]
    assert times_ms(pts, dts, fps=30) == pts


@given(st.lists(st.none() | st.integers(-(2**40), 2**40), min_size=2, max_size=50), st.integers(0, 9))
def test_times_always_increase(pts, ahead):
    times = PictureTimes(25.0)
    out = []
    for number, p in enumerate(pts):
        times.see(ticks_to_ns(p, Fraction(1, 90_000)), None)
        if number >= ahead:
            out.append(times.next())
    out += [times.next() for _ in range(len(pts) - len(out))]
    assert out[0] == 0
    assert all(b > a for a, b in itertools.pairwise(out))


# losses


def came(lost: LostPictures, number: int | None, *, key: bool = False, fields: bool = False, depth: int = 2) -> int:
    return lost.came(number, is_key=key, is_interlaced=fields, reorder_depth=depth)


def test_pictures_lost_without_a_word_are_told_from_those_still_inside():
    lost = LostPictures("h264")
    for number in (0, 1, 2, 3):  # 1 is shown last
        lost.sent(number)
    assert [came(lost, n, key=n == 0) for n in (0, 2, 3, 1)] == [0, 0, 0, 0]
    for number in range(4, 10):
        lost.sent(number)
    lost.failed(5)  # answered by an error, and counted there
    assert came(lost, 8) == 1  # of 4, 6 and 7 one at least
    assert came(lost, 9, key=True) == 2  # the others, which come no more
    lost.sent(10)
    assert came(lost, None) == 0  # a decoder that does not say: the oldest
    lost.sent(11)
    assert (lost.ended(), lost.ended()) == (1, 0)


def test_an_error_of_an_unknown_packet_is_counted_once():
    lost = LostPictures("h264")
    for number in range(4):
        lost.sent(number)
    lost.failed(None)
    assert came(lost, 0, key=True) == 0
    assert came(lost, 3, key=True) == 1  # 1 and 2 never came, one of them was counted
    assert lost.ended() == 0


def test_a_decoder_that_gives_nothing_is_not_remembered_for_ever():
    lost = LostPictures("h264")
    for number in range(MAX_INSIDE + 10):
        lost.sent(number)
    assert lost.ended() == MAX_INSIDE + 10


@pytest.mark.parametrize("early", [False, True])
def test_the_second_field_of_a_picture_is_not_a_picture(early):
    lost = LostPictures("h264")
    for number in range(0, 20, 2):
        lost.sent(number)
        if not early:
            lost.sent(number + 1)
        assert came(lost, number, fields=True) == 0
        if early:
            lost.sent(number + 1)
    assert lost.ended() == 0


def test_packets_that_are_never_shown_are_no_loss():
    lost = LostPictures("vp8")
    for number in range(10):
        lost.sent(number)
    assert came(lost, 9, key=True) == 0
    assert lost.ended() == 0
