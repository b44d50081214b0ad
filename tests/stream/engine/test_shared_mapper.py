"""One model for several streams: they take turns, and none notices the others in what it gets."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream.map_update import MapOptions, MapUpdate
from spark3r_core.stream.reference import Reference
from spark3r_stream.engine import shared_mapper
from spark3r_stream.engine.mapper_process import MapperProcess, ModelChoice
from spark3r_stream.engine.shared_mapper import LocalMappers, SharedMapper
from tests.core.places.views import HW, Room
from tests.core.stream.room_map import drifted, make_map, true_poses


class Slow:
    """Mappers whose calls take until they are let go; they say who was served."""

    memory = facts = None
    options = MapOptions(closes_loops=False)

    def __init__(self) -> None:
        self.served: list[int] = []
        self.go = threading.Semaphore(0)
        self.under_way = 0

    def call(self, stream: int, name: str, *arguments: Any) -> str:
        self.under_way += 1
        assert self.under_way == 1, "one call at a time"
        self.go.acquire()
        self.served.append(stream)
        self.under_way -= 1
        return f"{name} of {stream}"

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_streams_take_turns_whatever_one_of_them_asks_for() -> None:
    slow = Slow()
    shared = SharedMapper(slow)  # type: ignore[arg-type]

    def stream(number: int, calls: int) -> None:
        for _ in range(calls):
            assert shared.stream(number).refine() == f"refine of {number}"  # type: ignore[comparison-overlap]

    threads = [threading.Thread(target=stream, args=(number, 4)) for number in range(3)]
    for thread in threads:
        thread.start()
    for served in range(12):
        while served < 9 and shared._turns._work_queue.qsize() < 2:  # one is served, the other two have asked
            time.sleep(0.001)
        slow.go.release()
        while len(slow.served) <= served:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    shared.close()
    for begin in range(0, 9, 3):
        assert sorted(slow.served[begin : begin + 3]) == [0, 1, 2], slow.served


class Blind:
    """A mapper that has one map and says whether its newest keyframe can be tracked on."""

    def __init__(self, model: object, memory: object, options: object) -> None:
        self.world = SimpleNamespace(keyframes={0: None})

    def map(self, sees: bool) -> MapUpdate:
        return MapUpdate(0, None, Reference.__new__(Reference) if sees else None, {}, None, 1.0, 0.0)

    def begin(self) -> None:
        pass


def test_a_first_picture_that_shows_nothing_does_not_keep_a_camera_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_mapper, "LocalMapper", Blind)
    mappers = LocalMappers(None, MemoryConfig(max_new_frames=1), streams=2)  # type: ignore[arg-type]
    for stream, sees in ((0, True), (1, False)):
        mappers.call(stream, "map", sees)
        assert stream in mappers._worlds()
        mappers.call(stream, "begin")
    assert list(mappers._worlds()) == [1]


def test_maps_in_another_process_are_joined() -> None:
    """Opened there, as if mapped: where they lie comes back once enough keyframes were found in the other map."""
    poses, scales = drifted(true_poses(20), turn=0.004, growth=0.005)
    room, truth = Room.of(1, points=1800), true_poses(20)
    with contextlib.closing(MapperProcess()) as process:
        memory, options = MemoryConfig(max_new_frames=1), MapOptions()
        process.load(ModelChoice("bundled", "cpu", torch.float32, "random", 1), memory, options, streams=2)
        for stream, part in enumerate((slice(0, 10), slice(10, 20))):
            world = replace(make_map(room, truth[part], poses[part], scales[part]), picture_hw=HW)
            process.call(stream, "open", world, False)
        assert process.look(1, 12345) is None, "no such keyframe"
        found = next(rooted for one in world.order if (rooted := process.look(1, one)) is not None)
        assert [found[stream].root for stream in range(2)] == [0, 0]
        process.call(1, "begin")
        assert process.finish_together() == [], "its first map was given up"
