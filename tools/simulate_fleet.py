"""Many cameras against the real parts of a fleet: where does it saturate?

    python tools/simulate_fleet.py                             # 200 cameras for a minute
    python tools/simulate_fleet.py --cameras 32 --mappers 4 --seconds 30 --map-ms 40

Real: the map actor (`SiteMap`), the mapper actors with their queue (`PoolMapper`), the outlets with their publishers
(one for every 32 cameras), and the way of a camera to both (`RemoteMapper`, `OutletLink`), on a Ray of this machine.
Stubs: cameras are threads that send a frame's messages --fps times a second and ask for a keyframe --keyframes times;
mapping sleeps --map-ms, as if on a GPU, and gives a keyframe with features of a rendered picture, whose descriptors are
shuffled for each camera, so that all are looked for and none is found. Prints JSON. Rates are of this machine while it
also runs the simulated cameras; CPU times are of the parts themselves.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import ray
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.features.rootsift import Features, extract
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream.camera_sizes import CameraSizes
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.stream.map_budget import without
from spark3r_core.stream.map_update import KeyframeRequest, MapOptions, MapUpdate
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.shared_mapper import FollowedMapper
from spark3r_stream.fleet import pool_mapper
from spark3r_stream.fleet.cluster import OUTLET, SITE, actor, connected, found, mapper_name, quickly
from spark3r_stream.fleet.mapper_answers import Opened
from spark3r_stream.fleet.outlet import Outlet
from spark3r_stream.fleet.outlet_link import OutletLink
from spark3r_stream.fleet.plan import RayPlan
from spark3r_stream.fleet.pool_mapper import PoolMapper
from spark3r_stream.fleet.remote_mapper import RemoteMapper
from spark3r_stream.fleet.site_map import SiteMap
from spark3r_stream.frame import Frame
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire.envelope import CLOUD, FRAME, MOST_CAMERAS, TF, Sealer, Unsealed
from tools.bench_reduction import describe_machine

HW = (240, 320)
MOST_KEYFRAMES = 60  # of a camera's map; older ones are dropped, as by --map-memory
WORLDS, PICTURES = 4, 3  # that are rendered; and of each
FRAME_BYTES, TF_BYTES, CLOUD_BYTES = 700, 120, 300_000


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    names = {number: f"c{number}" for number in range(args.cameras)}
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, connected(RayPlan(cpus=64), "simulation"):
        parts = started(Path(folder), names, args)
        crowds = [
            actor(Crowd, list(names)[number :: args.crowds], parts["mappers"], parts["outlets"], vars(args), cpus=0)
            for number in range(args.crowds)
        ]
        ray.get([crowd.begin.remote() for crowd in crowds])
        time.sleep(args.warm_up)
        before = sampled(parts, crowds)
        time.sleep(args.seconds)
        after = sampled(parts, crowds)
        ray.get([crowd.end.remote() for crowd in crowds])
    print(json.dumps(report(before, after, args), indent=2))
    return 0


def started(folder: Path, names: dict[int, str], args: argparse.Namespace) -> dict[str, list[Any]]:
    """Names of the actors, once each is ready and the worlds are rendered; and their handles, with which they end."""
    site = actor(MeasuredSite, folder, "bundled", True, names, logging.ERROR, name=SITE, cpus=0)
    ray.get(site.rooted.remote())
    config = RunConfig("", device="cpu")
    mappers = [mapper_name(number) for number in range(1, args.mappers + 1)]
    handles = [actor(StubMapper, config, args.map_ms / 1000, name=name, cpus=0) for name in mappers]
    ray.get([handles[number % args.mappers].open_camera.remote(number, None) for number in names])
    outlets = []
    for first in range(0, args.cameras, MOST_CAMERAS):
        outlets.append(f"{OUTLET} {first // MOST_CAMERAS}")
        mine = [names[number] for number in range(first, min(first + MOST_CAMERAS, args.cameras))]
        publishing = replace(config, publish="tcp://127.0.0.1:*")
        handles.append(actor(MeasuredOutlet, publishing, mine, logging.ERROR, name=outlets[-1], cpus=0))
    ray.get([outlet.address.remote() for outlet in handles[args.mappers :]])
    return {"mappers": mappers, "outlets": outlets, "handles": [site, *handles]}


def sampled(parts: dict[str, list[Any]], crowds: list[Any]) -> dict[str, Any]:
    """Counts and processor seconds so far."""
    at_s = time.monotonic()
    site, mappers, outlets = (
        found(SITE),
        [found(one) for one in parts["mappers"]],
        [found(one) for one in parts["outlets"]],
    )
    beats = ray.get([quickly(one.beat).remote() for one in (site, *mappers)])
    cpu_s = ray.get([quickly(one.cpu_s).remote() for one in (site, *mappers, *outlets)])
    counts = ray.get([quickly(crowd.counts).remote() for crowd in crowds])
    return {
        "at_s": at_s,
        "site": beats[0],
        "mapped": sum(beat.mapped for beat in beats[1:]),
        "busy_s": sum(beat.busy_s for beat in beats[1:]),
        "site_cpu_s": cpu_s[0],
        "mapper_cpu_s": sum(cpu_s[1 : 1 + len(mappers)]),
        "outlet_cpu_s": sum(cpu_s[1 + len(mappers) :]),
        **{name: sum(one[name] for one in counts) for name in counts[0]},
    }


def report(before: dict[str, Any], after: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    seconds = after["at_s"] - before["at_s"]
    grown = {name: after[name] - before[name] for name in after if name != "site"}
    site = {
        name: getattr(after["site"], name) - getattr(before["site"], name)
        for name in ("looked", "look_s", "taken_bytes")
    }
    replaced = sum(after["site"].replaced.values()) - sum(before["site"].replaced.values())
    frames, keyframes = max(1, grown["frames"]), max(1, grown["mapped"])

    def rate(count: float) -> float:
        return round(count / seconds, 2)

    return {
        "what": "simulated cameras against the map actor, mapper actors and outlets of a fleet, all on this machine",
        "machine": describe_machine(torch.device("cpu")),
        "settings": vars(args),
        "seconds": round(seconds, 1),
        "frames_per_second": {
            "wanted": args.cameras * args.fps, "sent": rate(grown["frames"]), "skipped": rate(grown["frames_skipped"]),
            "messages_dropped": rate(grown["messages_dropped"]),
        },
        "keyframes_per_second": {
            "wanted": round(args.cameras * args.keyframes, 2), "mapped": rate(grown["mapped"]),
            "most": round(1000 * args.mappers / args.map_ms, 2), "late": rate(grown["late"]),
            "mean_wait_ms": round(1000 * grown["waited_s"] / max(1, grown["keyframes"]), 1),
            "mappers_busy": round(grown["busy_s"] / seconds / args.mappers, 3),
        },
        "map": {
            "kilobytes_per_keyframe": round(site["taken_bytes"] / 1000 / keyframes, 1),
            "looked_per_second": rate(site["looked"]), "gave_way_per_second": rate(replaced),
            "seconds_per_look": round(site["look_s"] / max(1, site["looked"]), 3),
            "keyframes": sum(after["site"].keyframes.values()),
            "memory_mb": round(after["site"].memory_bytes / 1e6),
        },
        "processor": {
            "map_share_of_a_core": round(grown["site_cpu_s"] / seconds, 3),
            "mapper_ms_per_keyframe": round(1000 * grown["mapper_cpu_s"] / keyframes, 2),
            "outlet_ms_per_frame": round(1000 * grown["outlet_cpu_s"] / frames, 3),
        },
    }  # fmt: skip


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--mappers", type=int, default=4)
    parser.add_argument("--fps", type=float, default=15.0, help="of each camera")
    parser.add_argument("--keyframes", type=float, default=0.5, help="that each camera asks for in a second")
    parser.add_argument("--map-ms", type=float, default=40.0, help="that mapping one takes")
    parser.add_argument("--seconds", type=float, default=60.0, help="that are measured")
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--crowds", type=int, default=4, help="processes that simulate cameras")
    return parser.parse_args(arguments)


def rendered(seed: int) -> list[Features]:
    """Features of pictures of a world."""
    source = SyntheticSource(f"synthetic:room?seed={1000 + seed}&frames=90&size={HW[1]}x{HW[0]}")
    return [extract(source.read().image) for _ in range(PICTURES)]


class StubHost:
    """Maps by waiting. seed: of the camera. pictures: of its world."""

    def __init__(self, seed: int, pictures: list[Features], map_s: float) -> None:
        order = np.random.default_rng(seed).permutation(128)  # what was described is nowhere described like this again
        self._features = [replace(one, histograms=np.ascontiguousarray(one.histograms[:, order])) for one in pictures]
        self._map_s = map_s
        self.world = KeyframeMap(focal=300.0, focal_std=0.01, picture_hw=HW)

    def map(self, request: KeyframeRequest) -> MapUpdate:
        time.sleep(self._map_s)
        number = request.frame_id
        features = self._features[number % PICTURES]
        pose = np.eye(4)
        pose[0, 3] = 0.01 * number
        depth = np.full(HW, 2.0, np.float32)
        camera = np.array([[300.0, 0, HW[1] / 2], [0, 300.0, HW[0] / 2], [0, 0, 1]])
        key = Keyframe(
            number, request.time_s, pose, 1.0, depth, depth * 0.4, camera, np.eye(3), features,
            np.full(len(features), 2.0), b"p" * 20_000,
        )  # fmt: skip
        world = self.world.draft()
        world.keyframes[number] = key
        world = without(world, world.order[:-MOST_KEYFRAMES])
        self.world = world
        return MapUpdate(number, key, None, {number: Sim3()}, None, 300.0, 0.01, part=number)

    def map_to_save(self) -> KeyframeMap:
        return self.world


class StubMapper(PoolMapper):
    """The pool's mapper, whose work is waiting."""

    def __init__(self, config: RunConfig, map_s: float) -> None:
        self._map_s = map_s
        self._worlds = [rendered(seed) for seed in range(WORLDS)]
        pool_mapper.model_of = lambda *_: None  # type: ignore[assignment, return-value]
        super().__init__(config, logging.WARNING)

    def open_camera(self, number: int, known: Any) -> Any:
        host: Any = StubHost(number, self._worlds[number % WORLDS], self._map_s)
        self._cameras[number] = pool_mapper._Camera(FollowedMapper(host))
        return Opened(frozenset(), 0)

    def cpu_s(self) -> float:
        return _cpu_s()


class MeasuredSite(SiteMap):
    def cpu_s(self) -> float:
        return _cpu_s()


class MeasuredOutlet(Outlet):
    def cpu_s(self) -> float:
        return _cpu_s()


class Crowd:
    """Simulated cameras, each in a thread. numbers: of the cameras."""

    def __init__(self, numbers: list[int], mappers: list[str], outlets: list[str], rates: dict[str, float]) -> None:
        self._stop = threading.Event()
        self._sent = self._asked = self._skipped = 0
        self._guard = threading.Lock()
        self._rates = rates
        memory, options = MemoryConfig(max_new_frames=1), MapOptions()
        self._cameras = []
        for number in numbers:
            outlet = found(outlets[number // MOST_CAMERAS])
            address = ray.get(outlet.address.remote())
            link = OutletLink(outlet, f"c{number}", address.endpoint)
            host = RemoteMapper(found(mappers[number % len(mappers)]), number, memory, options, None, ())  # type: ignore[arg-type]
            self._cameras.append((number, link, host, Sealer(address.session_id, time.time_ns, camera=f"c{number}")))

    def begin(self) -> None:
        for camera in self._cameras:
            for work in (self._frames, self._keyframes):
                threading.Thread(target=work, args=camera, daemon=True).start()

    def counts(self) -> dict[str, Any]:
        return {
            "frames": self._sent,
            "keyframes": self._asked,
            "late": sum(host.late for _, _, host, _ in self._cameras),
            "waited_s": sum(host.waited_s for _, _, host, _ in self._cameras),
            "messages_dropped": sum(link.dropped for _, link, _, _ in self._cameras),
            "frames_skipped": self._skipped,
        }

    def end(self) -> None:
        self._stop.set()

    def _frames(self, number: int, link: OutletLink, host: RemoteMapper, sealer: Sealer) -> None:
        period = 1 / self._rates["fps"]
        due, frame_id = time.monotonic() + period * (number % 97) / 97, 0
        blank = np.zeros((1, 1, 3), np.uint8)
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            frame_id += 1
            messages = [Unsealed(FRAME, b"f" * FRAME_BYTES, 0), Unsealed(TF, b"t" * TF_BYTES, 0)]
            if frame_id % max(1, round(self._rates["fps"] / self._rates["keyframes"])) == 0:
                messages.append(Unsealed(CLOUD, b"c" * CLOUD_BYTES, 0))
            link.window([Frame(blank, frame_id, 0, 0, 0, "")], StepOutput([]))
            link.send(sealer.seal(messages))
            behind = int(max(0.0, time.monotonic() - due) / period)  # as a camera does that is too slow
            due += period * (1 + behind)
            with self._guard:
                self._sent += 1
                self._skipped += behind

    def _keyframes(self, number: int, link: OutletLink, host: RemoteMapper, sealer: Sealer) -> None:
        period = 1 / self._rates["keyframes"]
        due, frame_id = time.monotonic() + period * (number % 89) / 89, 0
        facts: Any = SimpleNamespace(patch_size=16, capabilities=SimpleNamespace(native_patches=None))
        sizes = CameraSizes.fit(HW, facts, 256)
        picture = np.zeros((*HW, 3), np.uint8)
        tracked = TrackedFrame(0, 0, np.eye(4), np.eye(4), True, 1.0, 1.0, 1.0, 0.0, 0.0, np.zeros((6, 6)), np.eye(3))
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            request = KeyframeRequest(frame_id, time.monotonic(), picture, sizes, [])
            host.map(replace(request, tracked=replace(tracked, keyframe_id=frame_id - 1)) if frame_id else request)
            frame_id += 1
            due = max(due + period, time.monotonic())  # the newest frame, once the mapper has answered
            with self._guard:
                self._asked += 1


def _cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    sys.exit(main())
