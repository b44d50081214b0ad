"""Tags: what is refused, how exact corners are, and the similarity that they give."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.tag_evidence import TagDepth, TagEvidence
from spark3r_core.metric.tag_fit import TagView, fit_tag
from spark3r_core.metric.tags import TagDetector, TagSighting, TagSpec, cells, tag_picture
from spark3r_core.synthetic.tag import PaintedTag

CAMERA = Intrinsics(300.0, 300.0, 160.0, 120.0, 320, 240)
SPEC = TagSpec.parse("36h11:0.3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("36h11", "write FAMILY:METRES"),
        ("36h12:0.1", "unknown family of tags '36h12'"),
        ("36h11:16", "edge of its black square in metres"),
        ("36h11:-1", "edge of its black square in metres"),
        ("36h11:nan", "write FAMILY:METRES"),
        ("36h11:0.1:587", "ids 0 to 586"),
        ("4x4_50:0.1:50", "ids 0 to 49"),
    ],
)
def test_nonsense_is_refused_with_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        TagSpec.parse(text)


def test_mounting_and_origin_need_what_they_are_about() -> None:
    with pytest.raises(GeometryError, match="need a tag"):
        MetricOptions(tag_up="wall")
    with pytest.raises(GeometryError, match="wall or on the floor"):
        MetricOptions(tag=SPEC, tag_origin=True)


def painted(camera_from_tag: np.ndarray, size: float = 0.3) -> np.ndarray:
    """(240, 320, 3) uint8 of a tag before something grey and rough."""
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.uniform(0.2, 0.6, (30, 40, 3)).astype(np.float32), (320, 240))
    tag = PaintedTag(camera_from_tag, size, tag_picture("36h11", 7, cells("36h11")))
    assert tag.paint(image, np.full((240, 320), np.inf, np.float32), np.eye(4), CAMERA)
    return (image * 255).round().astype(np.uint8)


def facing(distance: float, turn: tuple[float, float, float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = exp_so3(np.array(turn)) @ np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = 0.1, -0.05, distance
    return pose


@pytest.mark.parametrize("distance", [1.0, 2.5, 4.8])
def test_corners_are_exact_also_of_small_tags(distance: float) -> None:
    """90, 36 and 19 pixels wide; a detector's own corners make the last one 5 % too small."""
    for turn in ((0.0, 0.0, 0.1), (0.4, 0.3, 0.0), (-0.3, 0.5, -0.2)):
        pose = facing(distance, turn)
        (found,) = TagDetector(SPEC)(painted(pose))
        assert found.tag_id == 7
        seen = se3.transform_points(pose, SPEC.corners_m) @ CAMERA.matrix.T
        true = seen[:, :2] / seen[:, 2:]
        assert np.abs(found.corners - true).max() < 0.25
        spread, true_spread = (np.linalg.norm(one - one.mean(0), axis=1).sum() for one in (found.corners, true))
        assert spread / true_spread == pytest.approx(1.0, abs=0.01)


def test_another_id_and_an_id_twice_are_left_out() -> None:
    one, other = painted(facing(2.0, (0, 0, 0))), painted(facing(2.0, (0, 0, 0)))
    assert TagDetector(replace(SPEC, tag_id=3))(one) == []
    assert TagDetector(SPEC)(np.concatenate([one, other], axis=1)) == []


def views_of(lies: Sim3, poses: np.ndarray, noise: float, depth_error: float, seed: int) -> list[TagView]:
    rng = np.random.default_rng(seed)
    views = []
    for pose in poses:
        camera_from_map = se3.invert(pose)
        seen = se3.transform_points(camera_from_map, lies.apply_to_points(SPEC.corners_m))
        pixels = seen @ CAMERA.matrix.T
        corners = pixels[:, :2] / pixels[:, 2:] + rng.normal(size=(4, 2)) * noise
        depth = float(seen[:, 2].mean() * np.exp(depth_error * rng.normal()))
        views.append(TagView(corners, CAMERA.matrix, pose, depth, 0.15))
    return views


def test_several_views_give_the_scale_and_say_how_well() -> None:
    errors = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        units = float(np.exp(0.5 * rng.normal()))
        lies = Sim3(
            units, exp_so3(rng.normal(size=3) * 0.3) @ np.diag([1.0, -1, -1]), np.array([0.1, 0.1, 2.0]) * units
        )
        poses = np.stack(
            [se3.exp(np.r_[rng.normal(size=3) * 0.2 * units, rng.normal(size=3) * 0.05]) for _ in range(6)]
        )
        fit = fit_tag(SPEC, views_of(lies, poses, 1.0, 0.15, seed))
        assert fit is not None
        errors.append(np.log(fit.map_from_tag.scale / units) / fit.log_std)
        assert fit.log_std < 0.06
    assert 0.3 < np.sqrt(np.mean(np.square(errors))) < 1.5, "the standard deviation is what it says"


def test_one_view_has_the_depth_of_the_map_and_says_that_this_is_little() -> None:
    lies = Sim3(2.0, np.diag([1.0, -1, -1]) @ exp_so3(np.array([0.2, 0.1, 0.0])), np.array([0.0, 0.0, 4.0]))
    fit = fit_tag(SPEC, views_of(lies, np.eye(4)[None], 0.1, 0.0, 0))
    assert fit is not None
    assert fit.map_from_tag.scale == pytest.approx(2.0, rel=0.03)
    assert fit.log_std == pytest.approx(0.15, rel=0.1)
    assert fit_tag(SPEC, []) is None


def test_sightings_follow_their_keyframe_and_are_bounded() -> None:
    """The map's unit doubles: so does the tag's scale, and the metres per unit halve."""
    lies = Sim3(1.0, np.diag([1.0, -1, -1]), np.array([0.0, 0.0, 2.0]))
    evidence = TagEvidence(SPEC)
    shift = np.eye(4)
    poses = []
    for keyframe in range(60):
        shift = shift.copy()
        shift[0, 3] = 0.4 * np.sin(keyframe)
        (view,) = views_of(lies, shift[None], 0.0, 0.0, 0)
        poses.append(shift)
        evidence.add(TagSighting(3, view.corners), keyframe, None, (320, 240))
    places = {i: Sim3.from_matrix(pose) for i, pose in enumerate(poses)}
    grown = {i: Sim3(2.0) @ place for i, place in places.items()}
    small, large = (evidence.fits(lie, CAMERA.matrix, {})[3] for lie in (places, grown))
    assert small.map_from_tag.scale == pytest.approx(1.0, rel=1e-3)
    assert large.map_from_tag.scale == pytest.approx(2.0, rel=1e-3)
    (scale,) = evidence.scales({3: large})
    assert (np.exp(scale.log_scale), scale.source) == (pytest.approx(0.5, rel=1e-3), "tag 36h11:3")
    assert small.views <= 24
    assert evidence.fits({}, CAMERA.matrix, {}) == {}


def test_the_depth_at_a_tag_is_that_of_the_points_around_it_once_they_are_known() -> None:
    """The keyframe's own is a fifth too large on its right side, where the tag is, and right elsewhere."""
    lies = Sim3(1.0, np.diag([1.0, -1, -1]), np.array([0.4, 0.0, 2.0]))
    (view,) = views_of(lies, np.eye(4)[None], 0.0, 0.0, 0)
    evidence = TagEvidence(SPEC)
    evidence.add(TagSighting(3, view.corners), 7, TagDepth(2.0 * 1.2, (0.75, 0.5)), (320, 240))
    nodes = np.zeros((5, 6))
    nodes[:, 3:] = -np.log(1.2)
    keyframes = {7: Sim3()}
    (own, bent) = (evidence.fits(keyframes, CAMERA.matrix, bends)[3] for bends in ({}, {7: nodes}))
    assert own.map_from_tag.scale == pytest.approx(1.2, rel=0.01)
    assert bent.map_from_tag.scale == pytest.approx(1.0, rel=0.01)
    assert own.log_std == pytest.approx(0.15, rel=0.1)
    assert bent.log_std < 0.8 * own.log_std
    evidence.add(TagSighting(3, view.corners), 8, TagDepth(2.0, (0.75, 0.5)), (320, 240))
    both = evidence.fits({7: Sim3(), 8: Sim3()}, CAMERA.matrix, {7: nodes, 8: 0 * nodes})[3]
    assert both.log_std == pytest.approx(bent.log_std, rel=0.02), "keyframes that follow each other are wrong alike"


def test_depth_that_several_views_read_at_a_tag_is_better_known_than_the_keyframes_own() -> None:
    """A leaning tag: its centre's depth is neither the mean nor the median of what it covers."""
    turn = exp_so3(np.array([0.2, 0.7, 0.1]))
    lies = Sim3(1.0, turn @ np.diag([1.0, -1, -1]), np.array([0.2, 0.0, 2.0]))
    (view,) = views_of(lies, np.eye(4)[None], 0.0, 0.0, 0)
    evidence = TagEvidence(SPEC)
    evidence.add(TagSighting(3, view.corners), 7, TagDepth(2.0 * 1.3, (0.6, 0.5)), (320, 240))
    v, u = np.mgrid[0:240, 0:320]
    rays = np.stack([u + 0.5, v + 0.5, np.ones(u.shape)], -1) @ np.linalg.inv(CAMERA.matrix).T
    normal = turn[:, 2]
    plane = np.asarray((normal @ lies.translation) / (rays @ normal), np.float32)
    own = evidence.fits({7: Sim3()}, CAMERA.matrix, {})[3]
    evidence.read(8, plane)
    evidence.read(7, np.full_like(plane, np.nan))
    assert evidence.fits({7: Sim3()}, CAMERA.matrix, {})[3].log_std == own.log_std, "nothing is known there"
    evidence.read(7, plane)
    read = evidence.fits({7: Sim3()}, CAMERA.matrix, {7: np.full((5, 6), 0.3)})[3]
    assert own.map_from_tag.scale > 1.15, "its perspective says something as well"
    assert read.map_from_tag.scale == pytest.approx(1.0, rel=0.01)
    assert read.log_std < 0.3 * own.log_std


def test_a_keyframe_is_wanted_for_a_new_view_of_a_tag_until_it_is_known() -> None:
    lies = Sim3(1.0, np.diag([1.0, -1, -1]), np.array([0.0, 0.0, 2.0]))
    evidence = TagEvidence(SPEC)
    places = {}
    for keyframe in range(12):
        pose = np.eye(4)
        pose[0, 3] = 0.2 * keyframe - 1
        places[keyframe] = Sim3.from_matrix(pose)
        (view,) = views_of(lies, pose[None], 0.0, 0.0, 0)
        tag = TagSighting(3, view.corners)
        assert evidence.wants_view([tag], keyframe - 1, 0.1)
        evidence.add(tag, keyframe, None, (320, 240))
        assert not evidence.wants_view([tag], keyframe, 0.01), "from the same place"
        assert evidence.wants_view([tag], keyframe, 0.1)
        assert evidence.wants_view([tag], 99, 0.01), "the keyframe it was tracked on does not see it"
        assert not evidence.wants_view([], 99, 0.1)
    fit = evidence.fits(places, CAMERA.matrix, {})[3]
    assert fit.log_std < 0.005
    assert not evidence.wants_view([tag], 11, 0.1), "its place is known"


def test_what_two_maps_saw_is_known_of_the_one_that_they_became() -> None:
    lies = Sim3(1.0, np.diag([1.0, -1, -1]), np.array([0.0, 0.0, 2.0]))
    both, first, second = TagEvidence(SPEC), TagEvidence(SPEC), TagEvidence(SPEC)
    poses = {}
    for keyframe in range(6):
        pose = np.eye(4)
        pose[0, 3] = 0.3 * np.sin(keyframe)
        poses[keyframe] = Sim3.from_matrix(pose)
        (view,) = views_of(lies, pose[None], 0.0, 0.0, 0)
        for evidence in (both, first if keyframe < 3 else second):
            evidence.add(TagSighting(3, view.corners), keyframe, None, (320, 240))
    first.take_in(second)
    together, expected = (one.fits(poses, CAMERA.matrix, {})[3] for one in (first, both))
    assert together.log_std == pytest.approx(expected.log_std)
    assert together.map_from_tag.scale == pytest.approx(expected.map_from_tag.scale)
