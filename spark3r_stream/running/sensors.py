"""Another sensor of a run, from the settings."""

from __future__ import annotations

from spark3r_core.user_paths import expand_home
from spark3r_stream.config import ConfigError, RunConfig, option_name
from spark3r_stream.sensors import gyro
from spark3r_stream.sensors.axes import camera_from_sensor
from spark3r_stream.sensors.depth_images import DepthImages
from spark3r_stream.sensors.depth_topic import DepthTopic
from spark3r_stream.sensors.feed import FileFeed, is_endpoint, open_feed
from spark3r_stream.sensors.gps import GpsSensor, open_gps
from spark3r_stream.sensors.gyro import GyroSensor
from spark3r_stream.sensors.odometry import OdometrySensor, open_odometry
from spark3r_stream.sources.base import Source, SourceKind


def open_sensor(config: RunConfig) -> GyroSensor | OdometrySensor | None:
    """The gyroscope of --gyro, or the poses of --odometry. Raises SensorError for what cannot be read."""
    if config.gyro is not None:
        axes = camera_from_sensor(config.gyro_axes)
        return GyroSensor(open_feed(config.gyro, gyro.TOPIC, gyro.COLUMNS, gyro.EXPECTED), config.gyro_offset, axes)
    if config.odometry is not None:
        return open_odometry(config.odometry, None if config.odometry_offset == "auto" else config.odometry_offset)
    return None


def open_depth_images(config: RunConfig) -> DepthImages | DepthTopic | None:
    """Those of --depth-images. Raises SensorError for a folder without any, and an address that is none."""
    if config.depth_images is None:
        return None
    if is_endpoint(config.depth_images):
        return DepthTopic(config.depth_images, config.depth_scale, config.depth_offset)
    if config.depth_offset:
        raise ConfigError(
            f"--depth-offset is about images that are published, and {config.depth_images} is a folder, in which they"
            " are named by the number of their picture; leave it away"
        )
    return DepthImages(expand_home(config.depth_images), config.depth_scale)


def open_positions(config: RunConfig, *, is_recorded: bool) -> GpsSensor | None:
    """Those of --gps. is_recorded: the settings are a recording's, which holds the positions itself. Raises SensorError
    for what cannot be read and for what is no position, ConfigError for options about positions that are not given."""
    if config.gps is not None:
        return open_gps(config.gps, config.gps_frame, config.gps_clock)
    for name in ("gps_frame", "gps_offset", "gps_clock"):
        if not is_recorded and getattr(config, name) != getattr(RunConfig, name):
            raise ConfigError(f"{option_name(name)} is about the positions of --gps; give it with them")
    return None


def check_sensor(sensor: GyroSensor | OdometrySensor | GpsSensor, config: RunConfig, source: Source) -> None:
    """Raises ConfigError where a file, which is of the past, is given with a camera, whose pictures are to come."""
    if isinstance(sensor.feed, FileFeed) and source.info.kind in (SourceKind.CAMERA, SourceKind.NETWORK):
        name = "gps" if isinstance(sensor, GpsSensor) else "gyro" if isinstance(sensor, GyroSensor) else "odometry"
        given = f"--{name} {getattr(config, name)}"
        raise ConfigError(
            f"{given} is a file, and {source.info.name} is live; give the address where it is published, as in"
            " tcp://127.0.0.1:5560"
        )
