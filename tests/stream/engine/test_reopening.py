"""A saved map as a run meets it: who may go on in it, and that everybody is told of it, late or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream.camera_sizes import CameraSizes
from spark3r_core.stream.kept_picture import encoded
from spark3r_stream.engine.frame_cloud import CloudConfig
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.relocaliser import TRIES_AT_FIRST
from spark3r_stream.engine.reopening import PER_FRAME, Reopening
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import EndOfStream, MapFileError
from spark3r_stream.frame import Frame
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import SavedMap
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.sources.counted_on import CountedOn
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire.messages import TrackingState
from tests.core.stream import orbit
from tests.core.stream.test_reopened import FOUND, NEXT
from tests.core.stream.truthful import TruthfulDA3
from tests.helpers_map import FACTS, IDS, orbit_map
from tests.helpers_wire import SESSION, make_sealer

NEXT_ID = max(IDS) + 1
WAIT_S = 10.0


def reopening(**options: object) -> Reopening:
    world = replace(orbit_map(), given_camera=None)
    return Reopening.of(SavedMap(world, FACTS, "0" * 64), "room.s3rmap", **options)  # type: ignore[arg-type]


def frames_of(indices: tuple[int, ...]) -> list[Frame]:
    stamps = [round(1e8 * k) for k in range(len(indices))]
    return [
        Frame(orbit.picture(index), NEXT_ID + k, 0, stamp, stamp, "test")
        for k, (index, stamp) in enumerate(zip(indices, stamps, strict=True))
    ]


@pytest.mark.parametrize(
    ("frame_id", "hw", "camera", "said"),
    [
        (NEXT_ID, (48, 64), None, "is of pictures of 192x144; the source gives 64x48"),
        (NEXT_ID - 1, orbit.HW, None, f"frame {NEXT_ID - 1} is older than the map room.s3rmap"),
        (NEXT_ID, orbit.HW, orbit.INTRINSICS, "was made without --camera, this run is with"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(
    frame_id: int, hw: tuple[int, int], camera: np.ndarray | None, said: str
) -> None:
    with pytest.raises(MapFileError, match=said) as caught:
        reopening().check(frame_id, hw, camera)
    assert "\n" not in str(caught.value)
    reopening().check(NEXT_ID, orbit.HW, None)


def test_the_camera_is_the_one_of_the_map() -> None:
    given = Reopening.of(SavedMap(replace(orbit_map(), given_camera=orbit.INTRINSICS), FACTS, "0" * 64), "room.s3rmap")
    given.check(NEXT_ID, orbit.HW, orbit.INTRINSICS.copy())
    with pytest.raises(MapFileError, match="made with --camera, this run is without"):
        given.check(NEXT_ID, orbit.HW, None)
    with pytest.raises(MapFileError, match="other --camera"):
        given.check(NEXT_ID, orbit.HW, orbit.INTRINSICS * 1.01)


def test_keyframes_are_published_a_few_at_a_time_with_their_pictures() -> None:
    """A picture of a slope: each pixel of what is published shows the place that its depth is of."""
    saved = orbit_map()
    height, width = orbit.HW
    v, u = np.mgrid[:height, :width] + 0.5
    slope = np.stack([255 * u / width, 255 * v / height, 0 * u], -1).astype(np.uint8)
    key = saved.keyframes[0]
    to_picture = key.picture_from_depth.copy()
    to_picture[:2, 2] += 6.0  # a depth that was cut out of the middle
    saved.keyframes[0] = replace(key, picture=encoded(slope), picture_from_depth=to_picture)
    saved.keyframes[8] = replace(saved.keyframes[8], picture=b"")
    run = Reopening.of(SavedMap(saved, FACTS, "0" * 64), "room.s3rmap")
    submaps = run.begin(0.0)
    assert [one.number for one in submaps.values()] == [0, 1, 2, 3]
    assert run.time_shift_s == pytest.approx(3.4), "a second after the last keyframe of the map"
    now = run.next_outputs(CloudConfig())
    assert [one.frame_id for one in now] == list(IDS[:PER_FRAME])
    h, w = key.depth.shape
    place = to_picture @ np.array([w * 0.5 + 2.5, h * 0.5 - 1.5, 1])
    shown = now[0].image[int(h * 0.5 - 1.5), int(w * 0.5 + 2.5), :2]
    assert np.abs(shown - 255 * place[:2] / (width, height)).max() < 4
    assert (now[1].image == 128).all(), "a picture that was not kept"
    assert [one.frame_id for one in run.next_outputs(CloudConfig(), None)] == list(IDS[PER_FRAME:])
    assert run.next_outputs(CloudConfig()) == []
    late = Reopening.of(SavedMap(orbit_map(), FACTS, "0" * 64), "room.s3rmap")
    late.begin(1e9)
    assert late.time_shift_s == 0, "a clock that went on"


def test_a_run_is_found_in_the_map_and_late_joiners_have_both(tmp_path) -> None:
    """Real sockets: who connects after the run began, and after the map was published, has it in its place."""
    engine = TrackingReconstructor(
        LocalMapper(TruthfulDA3.make((FOUND, NEXT)), MemoryConfig(max_pages=12, max_new_frames=1)),
        reopening=reopening(),
    )
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher:
        sink = WireSink(make_sealer(), [publisher])
        results = []
        for frame in frames_of((FOUND, FOUND, 21, 22)):
            step = engine.process([frame])
            sink.window([frame], step)
            results += [output.result for output in step.outputs]
        with Subscriber(publisher.endpoint) as subscriber:
            snapshot = subscriber.join(WAIT_S)
    assert not results[0].valid
    assert "not recognised in the saved map yet" in results[0].failure_reason
    assert all(one.valid for one in results[1:])
    found = engine._map.submaps[NEXT_ID]
    assert results[1].submap == found.number == len(IDS)
    assert set(snapshot.corrections) == set(snapshot.clouds) == {*range(len(IDS)), found.number}
    saved = orbit_map()
    for number, frame_id in enumerate(IDS):
        np.testing.assert_allclose(
            snapshot.corrections[number].map_from_submap.matrix,
            engine._map.submaps[frame_id].map_from_submap.matrix,
            atol=1e-9,
        )
        assert engine._map.submaps[frame_id].map_from_submap.scale == pytest.approx(
            saved.keyframes[frame_id].scale, 0.05
        )
    there = snapshot.corrections[found.number].map_from_submap
    assert orbit.error(se3.make_pose(there.rotation, there.translation), orbit.pose(FOUND))[1] < 0.05
    path = tmp_path / "room.s3rmap"
    assert engine.save_map(path, FACTS, False).result() > 0
    engine.close()
    after = read_map(path).world
    assert after.order == [*IDS, NEXT_ID]
    times = [after.keyframes[one].time_s for one in after.order]
    assert times == sorted(times), "and in time, too, it follows the map"


@pytest.mark.parametrize("is_read_only", [False, True])
def test_a_camera_that_is_not_recognised(is_read_only: bool, tmp_path) -> None:
    """After a while another map begins, unless the map is only to be read; the saved one stays what is saved."""
    model = TruthfulDA3.make((0,))
    engine = TrackingReconstructor(
        LocalMapper(model, MemoryConfig(max_pages=12, max_new_frames=1)), reopening=reopening(is_read_only=is_read_only)
    )
    picture = orbit.elsewhere()
    small, _ = CameraSizes.fit(orbit.HW, model.facts, None).for_network(picture)
    model.by_image[small.transpose(2, 0, 1).tobytes()] = 0
    states = []
    for k in range(TRIES_AT_FIRST + 3):
        step = engine.process([Frame(picture, NEXT_ID + k, 0, k, k, "test")])
        states += [output.result for output in step.outputs]
    assert not any(one.valid for one in states[:TRIES_AT_FIRST])
    assert all(one.state is TrackingState.LOST for one in states[:TRIES_AT_FIRST])
    assert states[-1].valid is not is_read_only
    saving = engine.save_map(tmp_path / "room.s3rmap", FACTS, False)
    if is_read_only:
        with pytest.raises(MapFileError, match="the map is only read in this run"):
            saving.result()
    else:
        assert saving.result() == 0, "nothing is new in the saved map"
    assert list(tmp_path.iterdir()) == []
    engine.finish(adjust_all=True)
    engine.close()


def test_frames_are_counted_on() -> None:
    source = CountedOn(SyntheticSource("synthetic:room?frames=2&size=32x24"), 100)
    assert source.info.frame_count == 2
    first, second = source.read(), source.read()
    assert (first.frame_id, first.picture, second.frame_id, second.picture) == (100, 0, 101, 1)
    with pytest.raises(EndOfStream):
        source.read()
    source.close()
