"""A camera's run that goes on for one that broke off: what is out stays as it is, and nothing is numbered twice."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.frame_cloud import CloudConfig
from spark3r_stream.engine.placed import PlacedSink, Placement
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.fleet.outlet import Notes, Outlet
from spark3r_stream.map_file.saved_map import SavedMap
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.encode import encode_status
from spark3r_stream.wire.envelope import STATUS, Sealer
from spark3r_stream.wire.messages import MapCorrection, SessionState, Status
from tests.helpers_map import FACTS, IDS, orbit_map


def test_submaps_keep_their_numbers_and_what_is_out_is_not_published_again() -> None:
    before = Resumption(40, 2, {}, {IDS[0]: 5, IDS[2]: 7}, {5: 3, 7: 1, 8: 0})
    reopening = Reopening.of(SavedMap(orbit_map(), FACTS, ""), "gate", resumption=before)
    assert reopening.next_frame_id == 40
    submaps = reopening.begin(0.0)
    assert {frame_id: one.number for frame_id, one in submaps.items()} == dict(zip(IDS, (5, 9, 7, 10), strict=True))
    assert reopening.next_number == 11
    assert [one.frame_id for one in reopening.next_outputs(CloudConfig(), most=None)] == [IDS[1], IDS[3]]


def test_where_submaps_lie_is_said_in_revisions_that_go_on() -> None:
    steps: list[StepOutput] = []

    class Kept:
        def window(self, frames: object, result: StepOutput) -> None:
            steps.append(result)

    before = Resumption(revisions={5: 3}, submaps={0: 5})
    sink = PlacedSink(lambda: Placement("map"), [Kept()], lambda name: None, before)
    sink.window([], StepOutput([], corrections=[MapCorrection(5, 0, Sim3()), MapCorrection(6, 0, Sim3())]))
    assert [(one.submap, one.revision) for one in steps[-1].corrections] == [(5, 4), (6, 0)]
    sink.settle(Placement("map", reason="all cameras adjusted together"), {0: Sim3(2.0)}, {0: Sim3()})
    assert [(one.submap, one.revision) for one in steps[-1].corrections] == [(5, 5), (6, 1)]


@pytest.fixture
def outlet(tmp_path: Path) -> Iterator[Outlet]:
    outlet = Outlet(replace(RunConfig(""), publish=f"ipc://{tmp_path}/s"), ["gate"], 30)
    yield outlet
    outlet.close(Status(SessionState.ENDED))


def test_the_outlet_knows_where_a_camera_broke_off(outlet: Outlet) -> None:
    assert outlet.resume("gate") == Resumption()
    outlet.add("yard")
    with Subscriber(outlet.address().endpoint, [STATUS], timeout_s=20) as subscriber:
        subscriber.wait_connected(20)
        for camera in ("gate", "yard"):
            for beat in range(2):
                first = outlet.resume(camera).sequences  # each time another process
                sealer = Sealer(outlet.address().session_id, lambda: 1, camera=camera, first=first)
                messages = sealer.seal([encode_status(Status(SessionState.RUNNING), 0)])
                outlet.take(camera, messages, Notes(10 * (beat + 1), beat, {0: beat}, {beat: 3}))
        got = [subscriber.poll(20) for _ in range(4)]
    assert [(one.envelope.camera, one.envelope.sequence) for one in got if one is not None] == [
        ("gate", 0), ("gate", 1), ("yard", 0), ("yard", 1),
    ]  # fmt: skip
    assert outlet.resume("gate") == Resumption(21, 2, {STATUS: 2}, {0: 1}, {0: 3, 1: 3})
    assert outlet.beat().sent == 4
    assert isinstance(outlet.address().session_id, uuid.UUID)
