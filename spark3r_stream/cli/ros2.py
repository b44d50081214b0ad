"""`spark3r ros2-bridge`: a running stream in ROS 2."""

from __future__ import annotations

import contextlib
import math
import sys

from spark3r_stream.cli.stop import Stop
from spark3r_stream.config import ConfigError
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.ros2.bridge import RosOutput, bridge
from spark3r_stream.ros2.converter import TOPICS, Converter
from spark3r_stream.ros2.messages import Ros2Messages
from spark3r_stream.ros2.naming import Naming
from spark3r_stream.ros2.types import RosTypes


def ros2_bridge_command(
    endpoint: str,
    names: Naming,
    scale: float,
    gravity: tuple[float, float, float],
    security: ClientSecurity | None,
    *,
    camera: str,
    with_tf: bool,
    with_clock: bool,
) -> int:
    """0 when a signal ended it. camera: of a stream of several, the one to bridge."""
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"--scale is {scale}; expected metres per unit of the stream, more than 0")
    types = RosTypes()
    converter = Converter(Ros2Messages(types), names, scale, gravity, with_tf=with_tf, with_clock=with_clock)
    stop = Stop()
    with (
        stop.on_signals(),
        contextlib.closing(RosOutput(names, types)) as output,
        Subscriber(endpoint, TOPICS, camera=camera, security=security) as subscriber,
    ):
        print(f"spark3r: {cleaned(endpoint)} goes to ROS 2 (Ctrl-C ends it)", file=sys.stderr, flush=True)
        bridge(subscriber, converter, output, stop.event)
    return 0
