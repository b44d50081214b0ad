from __future__ import annotations

import numpy as np
import pytest

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.sources import SourceKind, SourceOptions, open_source
from spark3r_stream.sources.synthetic import PATHS, WORLDS, SyntheticSource, SyntheticSpec, parse_synthetic
from tests.helpers import FakeClock


def open_uri(uri: str):
    return open_source(uri, SourceOptions(), FakeClock())


def test_all_keys_are_understood():
    uri = "synthetic:corridor?seed=7&frames=12&kind=forward&size=320x200&fov=80.5&fps=10&augment=0&live=1"
    assert parse_synthetic(uri) == SyntheticSpec("corridor", 7, 12, "forward", (320, 200), 80.5, 10.0, False, True)
    assert parse_synthetic("synthetic:") == SyntheticSpec()
    fisheye = parse_synthetic("synthetic:room?lens=0.02,-0.004,0.001,0&fisheye=1")
    assert (fisheye.lens, fisheye.fisheye) == ((0.02, -0.004, 0.001, 0.0), True)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("synthetic:castle", "unknown world 'castle'"),
        ("synthetic:room?sead=3", "unknown key 'sead'"),
        ("synthetic:room?seed=x", "seed='x'"),
        ("synthetic:room?frames=0", "expected a number from 1"),
        ("synthetic:room?size=640", "expected WIDTHxHEIGHT"),
        ("synthetic:room?kind=fly", "expected one of loop"),
        ("synthetic:room?live=yes", "expected 0 or 1"),
        ("synthetic:room?fov=nan", "expected a number"),
        ("synthetic:room?lens=0.1,x", "lens='0.1,x'"),
        ("synthetic:room?lens=0.1,0.2", "2 distortion coefficients"),
    ],
)
def test_mistakes_are_named(uri, expected):
    with pytest.raises(SourceError) as caught:
        open_uri(uri)
    assert expected in str(caught.value)
    assert uri in str(caught.value)


def test_frames_match_their_ground_truth_and_repeat():
    pytest.importorskip("torch")
    uri = "synthetic:room?seed=5&frames=3&kind=handheld&size=64x48&fps=10"
    source = open_uri(uri)
    assert source.info.kind is SourceKind.SYNTHETIC
    assert (source.info.size, source.info.frame_count, source.info.is_live) == ((64, 48), 3, False)
    frames = [source.read() for _ in range(3)]
    with pytest.raises(EndOfStream):
        source.read()
    assert [f.pts_ns for f in frames] == [0, 100_000_000, 200_000_000]
    assert all(f.image.shape == (48, 64, 3) and f.image.dtype == np.uint8 for f in frames)
    truth = source.ground_truth
    assert truth.world_from_camera.shape == (3, 4, 4)
    assert truth.intrinsics[0, 2] == 32
    assert truth.depth(1).shape == (48, 64)
    assert truth.depth(1).min() > 0
    again = open_uri(uri)
    assert all(np.array_equal(f.image, again.read().image) for f in frames)


def test_live_is_paced_and_has_ground_truth_too():
    pytest.importorskip("torch")
    clock = FakeClock()
    source = open_source("synthetic:room?frames=2&size=32x32&fps=4&live=1", SourceOptions(), clock)
    assert source.info.is_live
    start_ns = clock.unix_ns()
    assert [(source.read().captured_ns - start_ns) for _ in range(2)] == [0, 250_000_000]
    assert source.ground_truth.world_from_camera.shape == (2, 4, 4)


def test_words_are_those_of_the_renderer():
    pytest.importorskip("torch")
    from spark3r_core.synthetic.layout import KINDS
    from spark3r_core.synthetic.paths import PATH_KINDS

    assert set(WORLDS) == set(KINDS)
    assert set(PATHS) == set(PATH_KINDS)


def test_a_pause_and_the_hard_worlds_can_be_asked_for() -> None:
    spec = parse_synthetic("synthetic:plain_room?kind=wall_start&pause=20&frames=60")
    assert (spec.world, spec.kind, spec.pause) == ("plain_room", "wall_start", 20)
    source = SyntheticSource("synthetic:plain_room?kind=wall_start&pause=20&frames=60&size=32x24")
    truth = source.ground_truth.world_from_camera
    assert int((np.abs(np.diff(truth, axis=0)).max((1, 2)) == 0).sum()) == 20


def test_two_cameras_walk_through_one_world_from_its_ends() -> None:
    uri = "synthetic:room?seed=3&frames=20&size=32x24&kind=wander"
    whole = SyntheticSource(uri).ground_truth.world_from_camera
    first, second = SyntheticSource(f"{uri}&span=0:0.5"), SyntheticSource(f"{uri}&span=1:0.5&camera=1")
    assert first.info.frame_count == second.info.frame_count == 10
    ways = [one.ground_truth.world_from_camera for one in (first, second)]
    np.testing.assert_allclose(ways[0][0], whole[0])
    np.testing.assert_allclose(ways[1][0], whole[-1])
    np.testing.assert_allclose(ways[0][-1], ways[1][-1], atol=1e-9, err_msg="where they meet is one place")
    frames = [first.read() for _ in range(10)]
    assert [frame.frame_id for frame in frames] == list(range(10))
    with pytest.raises(EndOfStream):
        first.read()
    other = SyntheticSource(f"{uri}&span=0:0.5&camera=1").read()
    assert not np.array_equal(other.image, frames[0].image)
    for wrong in ("span=0.5", "span=0:2", "span=a:b", "span=0.5:0.5", "span=0:0.5&pause=2"):
        with pytest.raises(SourceError, match="span"):
            SyntheticSource(f"{uri}&{wrong}")
