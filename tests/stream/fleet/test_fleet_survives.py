"""A real Ray on this machine: actors are killed while two cameras run, and come back; what was said stays right."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from spark3r_core.geometry.camera_files import camera_as_json
from spark3r_stream.fleet.cluster import connected
from spark3r_stream.fleet.fleet import Fleet, started_fleet
from spark3r_stream.fleet.plan import plan_of
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire.messages import TrackingState
from tests.stream.fleet.following import Following

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

WAIT_S = 240.0  # on a busy machine; in peace they are back within a few seconds
LOOP = "synthetic:room?seed=3&frames=1200&kind=loop&size=320x240&fps=8&live=1"
URIS = {"gate": LOOP, "yard": f"{LOOP}&camera=1"}


class Looked:
    """A fleet that is looked after by a thread, with a subscriber."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.following = Following(fleet.address.endpoint)
        self.failure: BaseException | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        try:
            while not self.fleet.is_over and not self._is_over.is_set():
                self.fleet.look()
                time.sleep(0.2)
        except BaseException as error:
            self.failure = error

    def until(self, what: str, is_so: Callable[[], bool]) -> float:
        """Seconds until it is so."""
        begun_s = time.monotonic()
        while not is_so():
            assert self.failure is None, self.failure
            assert time.monotonic() - begun_s < WAIT_S, what
            time.sleep(0.1)
        return time.monotonic() - begun_s

    def tracked_since(self, camera: str, count: int) -> bool:
        """Whether a frame of the camera is tracked after so many of its frames."""
        return any(one.state is TrackingState.TRACKING and one.valid for one in self.following.frames[camera][count:])

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self.following.stop.set()
        self.following.join()


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    maps: Path = tmp_path_factory.mktemp("maps")
    camera = tmp_path_factory.mktemp("camera") / "room.json"
    camera.write_text(json.dumps(camera_as_json(SyntheticSource(LOOP).ground_truth.camera)))
    content = {
        "publish": "tcp://127.0.0.1:*", "maps": str(maps), "ray": {"cpus": 2}, "cameras": URIS,
        "settings": {"camera": str(camera)},  # with one that is guessed drift alone reaches 9 percent on a busy machine
    }  # fmt: skip
    plan = plan_of(content, "survives")
    with connected(plan.ray, "survives"), started_fleet(plan, logging.INFO) as fleet:
        looked = Looked(fleet)
        try:
            looked.until("both are tracked", lambda: all(looked.tracked_since(name, 5) for name in URIS))
            yield looked
        finally:
            looked.close()


def path_errors(looked: Looked) -> dict[str, float]:
    """Of all that was said to be tracked, RMS over the length of each camera's true path."""
    return {name: looked.following.error_of_path({name: uri}) for name, uri in URIS.items()}


def check_paths(looked: Looked, before: dict[str, float]) -> None:
    """A camera that is put down somewhere else after its loss is off by a good part of its way. Drift is not a loss: it
    is a few percent here, on a busy machine, where keyframes come late. before: errors before the loss."""
    errors = path_errors(looked)
    print("errors of the path:", {name: f"{before[name]:.2%} to {error:.2%}" for name, error in errors.items()})
    assert max(errors.values()) < 0.08, errors
    assert all(error < before[name] + 0.04 for name, error in errors.items()), (before, errors)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_camera_that_is_killed_goes_on_in_its_map(looked: Looked) -> None:
    camera, frames = looked.fleet.cameras["yard"], looked.following.frames["yard"]
    looked.until("it has a map", lambda: camera.beat.keyframes >= 2)
    before, other = len(frames), len(looked.following.frames["gate"])
    errors = path_errors(looked)
    kill(camera.beat.pid)
    begun_s = time.monotonic()
    looked.until("it is there again", lambda: any(one.epoch > 0 for one in frames))
    seconds = looked.until("it is tracked again", lambda: any(
        one.epoch > 0 and one.state is TrackingState.TRACKING and one.valid for one in frames
    ))  # fmt: skip
    print(f"camera: back after {time.monotonic() - begun_s:.1f} s ({seconds:.1f} s of it looked for)")
    again = [one for one in frames[before:] if one.epoch > 0]
    assert not again[0].valid, "nothing is said of where it is before it is found"
    first = next(one for one in again if one.valid)
    assert first.state is not TrackingState.TRACKING
    looked.until("it is counted", lambda: camera.restarts == 1)
    assert looked.tracked_since("gate", other), "the other went on"
    looked.following.check_numbers()
    check_paths(looked, errors)


def test_a_mapper_that_is_killed_opens_what_was_sent(looked: Looked) -> None:
    mapper, errors = looked.fleet.mappers[0], path_errors(looked)
    kill(mapper.beat.pid)
    begun_s = time.monotonic()
    looked.until("it is there again", lambda: mapper.restarts == 1)
    looked.until("both have opened their maps", lambda: len(mapper.beat.cameras) == len(URIS))
    print(f"mapper: back after {time.monotonic() - begun_s:.1f} s")
    counts = {name: len(frames) for name, frames in looked.following.frames.items()}
    looked.until("both are tracked", lambda: all(looked.tracked_since(name, counts[name]) for name in URIS))
    looked.until("both have mapped since", lambda: mapper.beat.mapped >= 2)
    assert all(camera.beat.mapper_restarts == 1 for camera in looked.fleet.cameras.values())
    assert all(camera.beat.keyframes_lost == 0 for camera in looked.fleet.cameras.values())
    looked.following.check_numbers()
    check_paths(looked, errors)


def test_a_map_that_is_killed_begins_with_its_files(looked: Looked) -> None:
    site = looked.fleet.site
    before, errors = dict(site.beat.keyframes), path_errors(looked)
    kill(site.beat.pid)
    begun_s = time.monotonic()
    looked.until("it is there again", lambda: site.restarts == 1)
    looked.until("it has all again", lambda: all(site.beat.keyframes.get(n, 0) >= count for n, count in before.items()))
    print(f"map: back after {time.monotonic() - begun_s:.1f} s")
    counts = {name: len(frames) for name, frames in looked.following.frames.items()}
    looked.until("both go on", lambda: all(looked.tracked_since(name, counts[name]) for name in URIS))
    looked.following.check_numbers()
    check_paths(looked, errors)


def test_what_both_have_lost_is_counted_and_nobody_is_believed_on_it(looked: Looked) -> None:
    """Mapper and map at once: what is newer than the files is gone."""
    fleet, cameras = looked.fleet, list(looked.fleet.cameras.values())
    looked.until("there is what no file has", lambda: len(unsaved(looked)) == len(cameras))
    counts = {name: len(frames) for name, frames in looked.following.frames.items()}
    restarts, errors = fleet.mappers[0].restarts, path_errors(looked)
    kill(fleet.site.beat.pid)
    kill(fleet.mappers[0].beat.pid)
    looked.until("the mapper is there again", lambda: fleet.mappers[0].restarts > restarts)
    looked.until("it is counted", lambda: all(camera.beat.keyframes_lost > 0 for camera in cameras))
    looked.until("they are doubted", lambda: all(
        any(one.state is not TrackingState.TRACKING for one in looked.following.frames[name][count:])
        for name, count in counts.items()
    ))  # fmt: skip
    looked.until("they are found in what there is", lambda: all(
        camera.beat.status.tracking in (TrackingState.TRACKING, TrackingState.LOW_CONFIDENCE) and camera.beat.asked > 0
        for camera in cameras
    ))  # fmt: skip
    looked.following.check_numbers()
    check_paths(looked, errors)


def unsaved(looked: Looked) -> set[int]:
    """Cameras with keyframes that are in no file yet."""
    maps = looked.fleet.plan.maps
    assert maps is not None
    beat = looked.fleet.site.beat
    saved = {}
    for number, name in looked.fleet.names.items():
        path = maps / f"{name}.s3rmap"
        saved[number] = len(read_map(path).world.keyframes) if path.exists() else 0
    return {number for number, count in beat.keyframes.items() if count > saved[number]}
