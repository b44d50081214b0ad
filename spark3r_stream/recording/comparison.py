"""A run held against its recording, payload by payload, while it is repeated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spark3r_stream.proto import wire_pb2
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.encode import encode_frame
from spark3r_stream.wire.messages import FrameOutput

COMPARED = (wire.FRAME, wire.DEPTH, wire.CLOUD)
TIMINGS = ("published_ns", "model_ms", "latency_ms")


def without_timings(topic: str, payload: bytes) -> bytes:
    """The payload with what can never be the same again cleared: publication time and the two durations of /frame/."""
    if topic != wire.FRAME:
        return payload
    result = wire_pb2.FrameResult.FromString(payload)
    for name in TIMINGS:
        result.ClearField(name)
    return result.SerializeToString(deterministic=True)


class Comparison:
    """Compares /frame/, /depth/ and /cloud/ of each window with the recording's.

    equal, different: messages. not_recorded: made now, but lost or never made in the recorded run. first_difference: in
    words, empty without one.
    """

    def __init__(self, path: Path) -> None:
        self.equal = 0
        self.different = 0
        self.not_recorded = 0
        self.first_difference = ""
        self._recorded = Recording(path).messages(COMPARED)
        self._next = next(self._recorded, None)

    def add(self, outputs: Sequence[FrameOutput]) -> None:
        """The next frames of the repeated run."""
        for output in outputs:
            for message in encode_frame(output):
                if message.topic in COMPARED:
                    self._compare(message.topic, output.result.frame_id, message.payload)

    def summary(self) -> str:
        """One line for the user."""
        if not self.different and not self.not_recorded:
            return f"all {self.equal} messages are equal to the recorded ones, byte by byte"
        words = f"{self.equal} messages are equal to the recorded ones, {self.different} differ"
        if self.different:
            words += f" (first {self.first_difference}; another machine, device or version?)"
        return f"{words}, {self.not_recorded} were not recorded" if self.not_recorded else words

    def as_dict(self) -> dict[str, Any]:
        """For stats.json."""
        return {
            "equal": self.equal,
            "different": self.different,
            "not_recorded": self.not_recorded,
            "first_difference": self.first_difference,
        }

    def _compare(self, topic: str, frame_id: int, payload: bytes) -> None:
        while self._next is not None and self._next.envelope.frame_id < frame_id:
            self._next = next(self._recorded, None)
        recorded = self._next
        if recorded is None or (recorded.envelope.frame_id, recorded.topic) != (frame_id, topic):
            self.not_recorded += 1
            return
        self._next = next(self._recorded, None)
        if without_timings(topic, recorded.payload) == without_timings(topic, payload):
            self.equal += 1
            return
        self.different += 1
        self.first_difference = self.first_difference or f"{topic} of frame {frame_id}"
