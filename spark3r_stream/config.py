"""Settings of a run, built once at the edge, passed down, and stored with the results."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from spark3r_core.errors import GeometryError
from spark3r_stream.errors import StreamError

if TYPE_CHECKING:
    from spark3r_core.metric.options import MetricOptions

LEAST_MAP_BYTES = 16 << 20  # a handful of keyframes, with pictures of any size
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class ConfigError(StreamError):
    """A setting that makes no sense, alone or with another."""


def parse_bytes(text: str) -> int:
    """ "64MiB", "1.5 GB", "4096" → bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ConfigError(f"cannot read {text!r} as a size; write for example 64MiB, 500MB or 1.5GiB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


NO_CAMERA = Path("none")
NAME_PLACE = "{name}"  # in paths and addresses: with several cameras, the name of each
OF_EACH_CAMERA = ("gyro", "odometry", "depth_images")


def parse_place(text: str) -> tuple[float, float, float]:
    """ "0.1,-0.3,0": three numbers, metres. Raises GeometryError that says what was expected."""
    try:
        right, down, ahead = (float(one) for one in text.split(","))
    except ValueError:
        raise GeometryError(f"{text!r} is no place; expected metres to the right, down and ahead: 0.1,-0.3,0") from None
    return right, down, ahead


def option_name(name: str) -> str:
    """Of a setting on the command line."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class RunConfig:
    """Reconstruct a live camera, a stream or a recording.

    Without out, publish, record, view or json the run shows its speed and state, and keeps nothing.

    Attributes:
        source: webcam:0, rtsp://…, http(s)://…, a video file, a folder of images, synthetic:room?seed=3&frames=300, or
            a recording (FILE.mcap), which is run again exactly as it ran.
        others: more sources, each run beside the first in the same process; NAME=SOURCE names one (docs/fleet.md).
        model: backbone; `spark3r models` lists them.
        weights: checkpoint file, or "random" (benchmarks only); bundled needs none.
        out: folder for trajectory.txt, cloud.ply, intrinsics.json, stats.json and preview.png.
        publish: ZeroMQ endpoint, e.g. tcp://127.0.0.1:5555; port * takes any free one.
        record: MCAP file for the published messages and the input.
        metrics: HOST:PORT of a page for Prometheus, e.g. 127.0.0.1:9100; a port alone is on 127.0.0.1 (docs/fleet.md).
        record_only: input keeps the file small: input, decisions, poses, and hashes of the rest, which a repeated run
            (spark3r run FILE.mcap) makes again.
        topics: publish only these, e.g. frame,tf,cloud, beside /status/ and /map_correction/; recorded is everything.
        rate: publish at most so many frames per second; keyframes and corrections are always sent.
        depth_every: publish depth of every so many-th keyframe.
        cloud_voxel: publish one point, the most trusted, of each cube with this edge (in model units).
        low_latency: of a live source take the newest frame always, and let none wait: more are lost, none is late.
        images: also publish, and record, every frame's picture: JPEG on /image/.
        map: file for the map, e.g. room.s3rmap, written every minute and at the end (docs/map_file.md). Where there is
            one already, the run goes on in it. With several sources a folder, with a map for each.
        localise: only say where the camera is in the map of --map, which stays as it is.
        rig: where cameras that are mounted on one body are on it, by their names, in metres: a YAML file, or Kalibr's
            camchain; their maps are joined by that (docs/fleet.md).
        map_memory: byte budget of the map; beyond it keyframes are dropped, those that others replace best first.
        overwrite: let --record replace an older recording, and --map begin anew in place of an older map; no other file
            is ever replaced.
        view: show the map as it grows on a page for the browser (spark3r view).
        pace: fast reads a file as fast as it is processed; realtime plays it by its timestamps and drops like a camera.
        live: treat an http(s) URL as a live stream, e.g. a camera that serves MJPEG.
        rtsp_transport: of RTSP; udp has less delay and more losses.
        max_restarts: a live source that was lost more often than this within five minutes is given up.
        fps: of a folder of images that have no times: timestamps.txt or names; default: 30.
        max_frames: stop after so many frames; what is lost before the network does not count.
        size: longest side of the network input in pixels; default: the model's own.
        window: new frames per window, or auto (files 4; live: all that wait, up to 8).
        memory: byte budget of the attention memory, e.g. 64MiB; default: what the model's page table asks for.
        fill: where the memory's keys and values come from: support runs anchor and newest frame again with each window,
            causal nothing, consolidate now and then all kept frames at once (docs/streaming.md).
        eviction: which frames stay when the memory is full: those spread over time, or over views.
        track: on follows every frame at camera rate and gives keyframes to the network; off gives it windows of every
            frame.
        loops: with --track on, recognise places seen before and close loops.
        refine: with --track off, align each frame to the pixels of earlier ones, on top of the network; auto: for
            models that need it (bundled), not for released ones.
        camera: calibration of the camera, by OpenCV (YAML, XML), ROS camera_info, COLMAP cameras.txt, Kalibr,
            nerfstudio or this program (JSON); FILE#NAME where there are several. Frames are undistorted, predictions
            replaced (docs/camera.md). Default: what spark3r calibrate kept for this camera; none: without.
        intrinsics: the same as --camera.
        gyro: angular velocities of a gyroscope on the camera: a text file, or tcp://… where they are published
            (docs/camera.md); a camera that turns fast is not lost then.
        gyro_offset: seconds to be added to their times; default: found out while the camera turns.
        gyro_axes: the sensor's axes along the camera's right, down and ahead, e.g. -y,-z,x.
        odometry: poses of the camera that something else knows, in any unit: a TUM file, or tcp://… where they are
            published.
        odometry_offset: seconds to be added to their times; auto: found out from what was tracked.
        tag: printed tags that say how long a metre is, FAMILY:METRES[:ID]: 36h11:0.16 are AprilTags with a black square
            of 16 cm, 4x4_50:0.1:7 is one ArUco marker. `spark3r tag` makes them (docs/metres.md).
        tag_up: how tags are mounted, upright on a wall or flat on the floor: then they say what is up, too.
        tag_origin: the origin of the map is the tag; of several, the one with the smallest id.
        camera_height: metres over the floor at which the camera is carried, as on a robot: the floor is found in the
            map, and says what is up, too. With several cameras this, baseline and distance are of the first one.
        baseline: two times in seconds from the first frame, and how many metres apart the camera was at them.
        distance: two points of the scene, each as PICTURE:X,Y in pixels of a picture, and how many metres they are
            apart: --distance 120:310,200 120:455,210 0.8 (docs/metres.md).
        depth_images: folder of a depth sensor's images, 16-bit PNGs registered to the undistorted pictures and named by
            the number of their picture: 000045.png; or tcp://… where they are published (docs/metres.md). They say how
            long a metre is; depth in the map stays the engine's.
        depth_scale: steps of a depth image per metre.
        depth_offset: seconds to be added to the times of published depth images.
        gps: positions of an antenna on the camera: a text file of time, latitude, longitude, altitude and, where known,
            their standard deviation in metres; or tcp://… where they are published. They say how long a metre is and
            what is up, and pull drift in (docs/metres.md).
        gps_frame: what positions are: wgs84, degrees and altitude; or local, x, y, z in metres with z up.
        gps_offset: where the antenna is from the camera, in metres to its right, down and ahead, e.g. 0.1,-0.3,0.
        gps_clock: seconds to be added to the positions' times.
        save_depth: also write depth and confidence of each frame to OUT/depth.
        mesh: also write one coloured surface, OUT/mesh.ply and OUT/mesh.glb, at the end (docs/geometry.md).
        max_points: points of cloud.ply at most.
        device: cpu, cuda, or auto.
        dtype: of the network's trunk; auto takes bfloat16 where the processor has it.
        json: one JSON line per frame on stdout and nothing else there.
        keys: folder of keys: encrypt what is published and admit only clients listed there; any address may be used.
        insecure: allow publishing, and metrics, on an address that other machines can reach without keys.
    """

    source: tyro.conf.Positional[str]
    others: tyro.conf.Positional[tuple[str, ...]] = ()
    model: str = "bundled"
    weights: str | None = None
    out: Path | None = None
    publish: str | None = None
    record: Path | None = None
    metrics: str | None = None
    record_only: Literal["input"] | None = None
    topics: str | None = None
    rate: float | None = None
    depth_every: int = 1
    cloud_voxel: float | None = None
    low_latency: bool = False
    images: bool = False
    map: Path | None = None
    localise: bool = False
    rig: Path | None = None
    map_memory: str = "256MiB"
    overwrite: bool = False
    view: bool = False
    pace: Literal["fast", "realtime"] = "fast"
    live: bool = False
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    max_restarts: int = 20
    fps: float | None = None
    max_frames: int | None = None
    size: int | None = None
    window: Literal["auto"] | int = "auto"
    memory: str | None = None
    fill: Literal["support", "causal", "consolidate"] = "support"
    eviction: Literal["time", "views"] = "time"
    track: Literal["on", "off"] = "on"
    loops: Literal["on", "off"] = "on"
    refine: Literal["auto", "on", "off"] = "auto"
    camera: Path | None = None
    intrinsics: Path | None = None
    gyro: str | None = None
    gyro_offset: float | None = None
    gyro_axes: str = "x,y,z"
    odometry: str | None = None
    odometry_offset: Literal["auto"] | float = 0.0
    tag: str | None = None
    tag_up: Literal["wall", "floor"] | None = None
    tag_origin: bool = False
    camera_height: float | None = None
    baseline: tuple[float, float, float] | None = None
    distance: tuple[str, str, float] | None = None
    depth_images: str | None = None
    depth_scale: float = 1000.0
    depth_offset: float = 0.0
    gps: str | None = None
    gps_frame: Literal["wgs84", "local"] = "wgs84"
    gps_offset: str = "0,0,0"
    gps_clock: float = 0.0
    save_depth: bool = False
    mesh: bool = False
    max_points: int = 2_000_000
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    json: bool = False
    keys: Path | None = None
    insecure: bool = False

    @property
    def camera_file(self) -> Path | None:
        """The calibration, by whichever of its two names; None also where it is to be none."""
        return None if self.wants_no_camera else self._camera_given

    @property
    def wants_no_camera(self) -> bool:
        """--camera none: without a calibration, even where one is remembered."""
        return self._camera_given == NO_CAMERA

    @property
    def _camera_given(self) -> Path | None:
        return self.intrinsics if self.camera is None else self.camera

    @property
    def metric(self) -> MetricOptions:
        """What is known of the scene in metres. Raises GeometryError for what makes no sense."""
        from spark3r_core.metric.distance import NamedPoint
        from spark3r_core.metric.options import MetricOptions
        from spark3r_core.metric.tags import TagSpec  # numpy: --help does without

        tag = None if self.tag is None else TagSpec.parse(self.tag)
        baseline = self.baseline
        if baseline is not None:
            first_s, second_s, metres = baseline
            baseline = (first_s, second_s, metres)  # of a recording it is a list
        distance = None
        if self.distance is not None:
            first, second, metres = self.distance
            distance = (NamedPoint.parse(first), NamedPoint.parse(second), metres)
        return MetricOptions(
            tag, self.tag_up, self.tag_origin, self.camera_height, baseline, distance,
            gps_antenna=parse_place(self.gps_offset), gps_frame=self.gps_frame,
        )  # fmt: skip

    def check(self) -> None:
        """ConfigError for values that cannot work, before anything is opened."""
        for name in ("max_frames", "size", "max_points", "depth_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{option_name(name)} is {value}; expected at least 1")
        if self.fps is not None and not 0.001 <= self.fps <= 1000:  # NaN too
            raise ConfigError(f"--fps is {self.fps}; expected 0.001 to 1000 frames per second")
        if self.max_restarts < 0:
            raise ConfigError(f"--max-restarts is {self.max_restarts}; expected 0 or more")
        if self.window != "auto" and not 1 <= int(self.window) <= 64:
            raise ConfigError(f"--window is {self.window}; expected auto or 1 to 64")
        for name, value in (("window", self.window), ("refine", self.refine)):
            if self.track == "on" and value != "auto":
                raise ConfigError(f"--{name} {value} is about windows of every frame; give --track off with it")
        if self.camera is not None and self.intrinsics is not None:
            raise ConfigError("--camera and --intrinsics are the same; give one of them")
        sensors = [name for name in ("gyro", "odometry") if getattr(self, name) is not None]
        if sensors and self.track == "off":
            raise ConfigError(
                f"--{sensors[0]} is a hint for tracking, and --track off does none; leave one of them away"
            )
        for name in OF_EACH_CAMERA:
            value = getattr(self, name)
            if self.others and value is not None and NAME_PLACE not in value:
                raise ConfigError(
                    f"{option_name(name)} {value} is of one camera; write {NAME_PLACE} where the name of each is to be,"
                    " as in /data/{name}"
                )
        if len(sensors) > 1:
            raise ConfigError("--gyro and --odometry both say how the camera turns; give one of them")
        if self.odometry_offset and self.odometry is None:
            raise ConfigError("--odometry-offset is about the poses of --odometry; give them with it")
        if self.gyro is None and (self.gyro_offset is not None or self.gyro_axes != "x,y,z"):
            raise ConfigError("--gyro-offset and --gyro-axes are about the samples of --gyro; give it with them")
        for name in ("gyro_offset", "odometry_offset", "depth_offset"):
            value = getattr(self, name)
            if value not in (None, "auto") and not abs(value) <= 1e10:  # NaN too
                raise ConfigError(f"{option_name(name)} is {getattr(self, name)}; expected seconds")
        try:
            is_metric = bool(self.metric) or self.depth_images is not None or self.gps is not None
        except GeometryError as error:
            raise ConfigError(str(error)) from None
        if not 1 <= self.depth_scale <= 1e5:
            raise ConfigError(f"--depth-scale is {self.depth_scale}; expected 1 to 100000 steps per metre")
        if self.depth_scale != 1000.0 and self.depth_images is None:
            raise ConfigError("--depth-scale is about depth images; give their folder with --depth-images")
        if self.depth_offset and self.depth_images is None:
            raise ConfigError("--depth-offset is about depth images; give their address with --depth-images")
        if not abs(self.gps_clock) <= 1e10:  # NaN too
            raise ConfigError(f"--gps-clock is {self.gps_clock}; expected seconds")
        if self.gps is not None and self.others:
            raise ConfigError("--gps is of one camera; leave it away, or run that camera by itself")
        if is_metric and self.track == "off":
            raise ConfigError("metres need keyframes, and --track off makes none; leave one of the two away")
        if self.memory is not None:
            parse_bytes(self.memory)
        if parse_bytes(self.map_memory) < LEAST_MAP_BYTES:
            raise ConfigError(f"--map-memory is {self.map_memory}; expected at least {LEAST_MAP_BYTES >> 20}MiB")
        if self.map is not None and self.track == "off":
            raise ConfigError("--map needs keyframes, and --track off makes none; leave one of the two away")
        if self.localise and self.map is None:
            raise ConfigError("--localise needs a map to find the camera in; give its file with --map")
        if self.rig is not None and not self.others:
            raise ConfigError("--rig says where several cameras are; give their sources, as NAME=SOURCE")
        if self.overwrite and self.record is None and self.map is None:
            raise ConfigError("--overwrite is about an older recording or map; give --record or --map with it")
        if self.record_only is not None and self.record is None:
            raise ConfigError("--record-only is about a recording; give its file with --record")
        for name, limit in (("rate", 1000.0), ("cloud_voxel", 1e6)):
            value = getattr(self, name)
            if value is not None and not 1e-6 <= value <= limit:  # NaN too
                raise ConfigError(f"{option_name(name)} is {value}; expected a positive number up to {limit:g}")
        for name in ("topics", "rate", "depth_every", "cloud_voxel"):
            is_default = getattr(self, name) == getattr(type(self), name)
            if not is_default and self.publish is None:
                raise ConfigError(f"{option_name(name)} is about what is published; give --publish with it")
        if self.low_latency and self.track == "off":
            raise ConfigError("--low-latency is about tracking; with --track off give --window 1")
        if self.images and self.publish is None and self.record is None:
            raise ConfigError("--images is about what is published; give --publish or --record with it")
        if self.save_depth and self.out is None:
            raise ConfigError("--save-depth writes into the result folder; give one with --out")
        if self.mesh and self.out is None:
            raise ConfigError("--mesh writes into the result folder; give one with --out")
        if self.mesh and self.track == "off":
            raise ConfigError("--mesh needs keyframes, and --track off makes none; leave one of the two away")
