"""The mapper on a rendered orbit: what a keyframe is in the map, and that a fault in any part of it leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream import mapper as mapper_module
from spark3r_core.stream import placing
from spark3r_core.stream.camera_sizes import CameraSizes
from spark3r_core.stream.map_update import KeyframeRequest, MapOptions, MapUpdate
from spark3r_core.stream.mapper import Mapper
from tests.core.stream import orbit
from tests.core.stream.truthful import TruthfulDA3

KEYFRAMES = (0, 8, 16, 24)
CAMERA = orbit.INTRINSICS


def new_mapper(focal: float = 1.0, unit: float = 1.0, **options: bool) -> Mapper:
    model = TruthfulDA3.make(KEYFRAMES, focal, unit)
    return Mapper(model, MemoryConfig(max_pages=12, max_new_frames=1), MapOptions(**options))


def request(
    mapper: Mapper, index: int, before: int | None, camera: np.ndarray | None = CAMERA, shift: float = 0.0
) -> KeyframeRequest:
    """Of the orbit's picture, tracked without error on the keyframe before. shift: of that, in units."""
    picture = orbit.picture(index)
    sizes, pyramid = CameraSizes.fit(orbit.HW, mapper.model.facts, None), grey_levels(picture)
    if before is None:
        return KeyframeRequest(index, index * 0.1, picture, sizes, pyramid, camera)
    tracked = orbit.tracked(before, index)
    tracked.key_from_camera[0, 3] += shift
    points = orbit.reference(before).points() @ se3.invert(tracked.key_from_camera)[:3, :3].T.astype(np.float32)
    points = points + se3.invert(tracked.key_from_camera)[:3, 3].astype(np.float32)
    return KeyframeRequest(
        index, index * 0.1, picture, sizes, pyramid, camera, tracked, points, odom_from_camera=orbit.pose(index)
    )


def follow(mapper: Mapper, keyframes: tuple[int, ...] = KEYFRAMES, **options: object) -> list[MapUpdate]:
    pairs = zip((None, *keyframes), keyframes, strict=False)
    return [mapper.map(request(mapper, index, before, **options)) for before, index in pairs]


def world_of(mapper: Mapper) -> dict:
    """Everything that the map says."""
    world = mapper.world
    return {
        "keyframes": {
            k: [
                np.asarray(part).tobytes()
                for part in (
                    one.world_from_camera, one.scale, one.depth, one.confidence, one.depth_intrinsics,
                    one.features.places, one.features.histograms, one.feature_depth,
                )
            ]
            for k, one in world.keyframes.items()
        },
        "tracks": sorted(zip(*(part.tolist() for part in world.tracks.seen_by(range(100), 1)), strict=True)),
        "edges": [(edge.first, edge.second, edge.second_from_first.tobytes()) for edge in world.edges],
        "matched": sorted(world.matched),
        "focal": (world.focal, world.focal_std, list(world.network_focals)),
    }  # fmt: skip


def memory_of(mapper: Mapper) -> dict:
    """Everything that the network remembers."""
    session, memory = mapper.session, mapper.session.memory
    assert memory is not None
    pages = {
        (layer, frame): tuple(part.numpy().tobytes() for part in memory.page(layer, frame))
        for layer in range(len(memory.layers))
        for frame in memory.frames(layer)
    }
    frames = {frame: session._remembered.kept[frame] for frame in session.kept}
    kept = {frame: (one.world_from_camera.tobytes(), one.depth.tobytes()) for frame, one in frames.items()}
    return {"pages": pages, "kept": kept, "remembered": session.remembered}


def assert_true(mapper: Mapper, turn: float = 0.3, distance: float = 0.01) -> None:
    for index, keyframe in mapper.world.keyframes.items():
        off = orbit.error(keyframe.world_from_camera, orbit.pose(index))
        assert off[0] < turn
        assert off[1] < distance


@pytest.fixture(scope="module")
def four() -> tuple[Mapper, list[MapUpdate]]:
    mapper = new_mapper()
    return mapper, follow(mapper)


def test_keyframes_lie_where_the_camera_was(four: tuple[Mapper, list[MapUpdate]]) -> None:
    mapper, updates = four
    assert mapper.world.order == list(KEYFRAMES)
    assert [update.frame_id for update in updates] == list(KEYFRAMES)
    assert_true(mapper)
    assert len(mapper.world.tracks) > 200
    assert [(edge.first, edge.second) for edge in mapper.world.edges] == [(0, 8), (8, 16), (16, 24)]
    for index, keyframe in mapper.world.keyframes.items():
        exact = orbit.depth(index)[2::4, 2::4]
        ratio = keyframe.depth * keyframe.scale / exact
        assert abs(np.median(ratio) - 1) < 0.02
        assert np.mean(np.abs(ratio - 1) < 0.05) > 0.8
    assert set(updates[0].moved) == {0}
    assert all(update.frame_id in update.moved for update in updates)
    assert not any(update.failure for update in updates)


def test_an_update_says_whether_adjustment_left_the_keyframe_where_it_was_tracked(
    four: tuple[Mapper, list[MapUpdate]],
) -> None:
    assert {update.agrees for update in four[1] if update.adjusted} == {True}
    assert {update.agrees for update in four[1] if not update.adjusted} == {None}
    mapper, asked = four[0], request(four[0], 24, 16)
    moved = mapper.world.draft()
    half = se3.compose(moved.keyframes[16].world_from_camera, se3.exp(0.4 * se3.log(asked.tracked.key_from_camera)))
    moved.keyframes[24] = moved.keyframes[24].moved(half, 1.0)
    assert mapper._agrees(asked, mapper.world, mapper.world)
    assert not mapper._agrees(asked, mapper.world, moved)


@pytest.mark.parametrize(
    ("shift", "turn_is_measured", "agrees"), [(0.0, False, None), (0.6, False, False), (0.6, True, None)]
)
def test_where_features_contradict_tracking_and_nothing_decides_it_is_not_believed(
    shift: float, turn_is_measured: bool, agrees: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapper = new_mapper()
    for one in (request(mapper, 0, None), request(mapper, 8, 0)):
        mapper.map(one)
    refused = SimpleNamespace(accepted=False, summary=lambda: "not adjusted")
    monkeypatch.setattr(
        "spark3r_core.stream.mapper.adjust",
        lambda world, *_, **__: SimpleNamespace(map=world, verdict=refused, log_depth={}),
    )
    asked = request(mapper, 16, 8, shift=shift)
    if turn_is_measured:
        asked = replace(asked, tracked=replace(asked.tracked, hinted_key_from_camera=asked.tracked.key_from_camera))
    update = mapper.map(asked)
    assert update.reference is not None
    assert update.reference.mended == (shift > 0)
    assert update.agrees is agrees


def test_the_tracker_is_given_the_keyframe_at_its_size(four: tuple[Mapper, list[MapUpdate]]) -> None:
    for update in four[1]:
        reference = update.reference
        assert reference is not None
        assert reference.depth.shape == orbit.HW
        np.testing.assert_allclose(reference.intrinsics, CAMERA)
        np.testing.assert_allclose(reference.odom_from_key, orbit.pose(update.frame_id), atol=1e-12)
        near = np.abs(np.log(reference.depth / orbit.depth(update.frame_id)))
        assert np.median(near) < 0.02
        assert reference.guess(orbit.picture(update.frame_id)) is not None
    first, later = (np.trace(update.reference.known.information[:-1, :-1]) for update in four[1][:2])
    assert later > first, "the points of the keyframe before say something of its depth"


def test_the_same_requests_give_the_same_bytes(four: tuple[Mapper, list[MapUpdate]]) -> None:
    mapper = new_mapper()
    follow(mapper)
    assert world_of(mapper) == world_of(four[0])
    assert memory_of(mapper) == memory_of(four[0])


def test_the_unit_of_the_map_is_the_first_keyframes() -> None:
    """A network of another scale: distances of the map are that times the truth, and one keyframe's to the next."""
    mapper = new_mapper(unit=2.5, adjusts=False)
    mapper.map(request(mapper, 0, None))
    plain = request(mapper, 8, 0)
    plain.tracked.key_from_camera[:3, 3] *= 2.5
    plain = KeyframeRequest(**{**plain.__dict__, "points": plain.points * np.float32(2.5)})
    update = mapper.map(plain)
    expected = orbit.pose(8)
    expected[:3, 3] *= 2.5
    np.testing.assert_allclose(update.keyframe.world_from_camera, expected, atol=1e-9)
    assert np.median(update.keyframe.depth / orbit.depth(8)[2::4, 2::4]) == pytest.approx(2.5, rel=0.02)


def test_depth_is_tied_to_the_points_of_the_keyframe_before() -> None:
    """The network's own scale of a later keyframe does not matter: points that were tracked into it give it."""
    mapper = new_mapper(adjusts=False)
    mapper.map(request(mapper, 0, None))
    second = request(mapper, 8, 0)
    doubled = KeyframeRequest(**{**second.__dict__, "points": second.points * np.float32(2)})
    update = mapper.map(doubled)
    assert np.median(update.keyframe.depth / orbit.depth(8)[2::4, 2::4]) == pytest.approx(2.0, rel=0.02)
    few = new_mapper(adjusts=False)
    few.map(request(few, 0, None))
    untied = few.map(KeyframeRequest(**{**second.__dict__, "points": second.points[:20] * np.float32(2)}))
    assert np.median(untied.keyframe.depth / orbit.depth(8)[2::4, 2::4]) == pytest.approx(1.0, rel=0.02)


def test_adjustment_mends_a_pose_that_was_tracked_wrongly() -> None:
    errors = []
    for adjusts in (False, True):
        mapper = new_mapper(adjusts=adjusts)
        requests = [request(mapper, 0, None), request(mapper, 8, 0), request(mapper, 16, 8, shift=0.15)]
        updates = [mapper.map(one) for one in requests]
        assert updates[-1].adjusted is adjusts
        errors.append(orbit.error(mapper.world.keyframes[16].world_from_camera, orbit.pose(16))[1])
    tracked, adjusted = errors
    assert tracked > 0.05
    assert adjusted < 0.5 * tracked


def test_a_focal_length_that_only_the_network_said_is_learned() -> None:
    mapper = new_mapper(focal=1.2)
    update = follow(mapper, camera=None)[-1]
    assert update.focal / CAMERA[0, 0] == pytest.approx(1.0, abs=0.19)
    given = new_mapper(focal=1.2)
    assert follow(given)[-1].focal == CAMERA[0, 0], "the user's camera is not the network's business"


def test_all_keyframes_are_adjusted_at_the_end() -> None:
    mapper = new_mapper()
    assert mapper.finish() is None
    follow(mapper)
    update = mapper.finish()
    assert update is not None
    assert update.keyframe is None
    assert update.adjusted == bool(update.moved)
    assert_true(mapper)


def test_a_picture_without_texture_is_mapped_but_not_tracked_on() -> None:
    mapper = new_mapper()
    grey = np.full((*orbit.HW, 3), 120, np.uint8)
    sizes = CameraSizes.fit(orbit.HW, mapper.model.facts, None)
    mapper.model.by_image[sizes.for_network(grey)[0].transpose(2, 0, 1).tobytes()] = 0
    update = mapper.map(KeyframeRequest(0, 0.0, grey, sizes, grey_levels(grey), CAMERA))
    assert update.reference is None
    assert "too little texture" in update.failure
    assert update.keyframe is not None


FAULTS = {
    "the network's encoder": "encode",
    "the network's decoder": "decode",
    "the network's heads": "predict",
    "features": "extract",
    "tie": "tied_depth",
    "matching": "neighbours",
    "adjustment": "adjust",
    "bending": "bent",
    "what the tracker gets": "_update",
}


@pytest.fixture(scope="module")
def untouched() -> Mapper:
    """What comes of keyframes 0, 8 and 24 where 16 was never asked for."""
    mapper = new_mapper()
    follow(mapper, (0, 8, 24))
    return mapper


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_map_and_memory_as_they_were(
    fault: str, untouched: Mapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapper = new_mapper()
    follow(mapper, (0, 8))
    world, memory = world_of(mapper), memory_of(mapper)
    failing = request(mapper, 16, 8, shift=0.15)  # so that adjustment has something to mend

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"a fault in {fault}")

    with monkeypatch.context() as patch:
        name = FAULTS[fault]
        if name in ("encode", "decode", "predict"):
            patch.setattr(mapper.model, "fault", name)
        elif name.startswith("_"):
            patch.setattr(mapper, name, broken)
        else:
            patch.setattr(mapper_module if hasattr(mapper_module, name) else placing, name, broken)
        with pytest.raises(RuntimeError, match="a fault in"):
            mapper.map(failing)
    assert world_of(mapper) == world
    assert memory_of(mapper) == memory
    assert not mapper.map(request(mapper, 24, 8)).failure
    assert world_of(mapper) == world_of(untouched), "as if the keyframe that failed had never been asked for"
    assert memory_of(mapper) == memory_of(untouched)


def test_depth_that_is_no_number_is_a_failure_in_words() -> None:
    mapper = new_mapper()
    follow(mapper, (0, 8))
    world, memory = world_of(mapper), memory_of(mapper)
    mapper.model.fault = "nan"
    update = mapper.map(request(mapper, 16, 8))
    assert update.keyframe is update.reference is None
    assert not update.moved
    assert "depth is not finite" in update.failure
    assert world_of(mapper) == world
    assert memory_of(mapper) == memory
    mapper.model.fault = ""
    assert not mapper.map(request(mapper, 24, 8)).failure
    assert_true(mapper)
