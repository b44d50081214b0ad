"""Spark3R-Stream: live video in, camera poses and geometry out over ZeroMQ.

from spark3r_stream import Subscriber, decode      # no torch on this side
"""

from spark3r_stream.pubsub.subscriber import Subscriber as Subscriber
from spark3r_stream.wire.decode import decode as decode

__all__ = ["Subscriber", "decode"]
