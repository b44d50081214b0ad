"""The wire's protobuf messages. The generated modules are committed; `python tools/generate_proto.py` writes them."""

from spark3r_stream.proto.spark3r.v1 import recording_pb2, wire_pb2

__all__ = ["recording_pb2", "wire_pb2"]
