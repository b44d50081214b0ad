"""Spark3R-Stream: live video in, camera poses and geometry out over ZeroMQ.

from spark3r_stream import Subscriber, decode      # no torch on this side
"""

from spark3r_stream.decoding import decode as decode
from spark3r_stream.subscriber import Subscriber as Subscriber

__all__ = ["Subscriber", "decode"]
