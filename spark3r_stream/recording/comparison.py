"""A run held against its recording, payload by payload, while it is repeated."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spark3r_stream.proto import wire_pb2
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.encode import encode_frame, encode_keyframe
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput

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

    equal, different: messages. not_recorded: made now, but lost or never made in the recorded run. not_made: recorded,
    but not made now. first_difference: in words, empty without one.
    """

    def __init__(self, path: Path) -> None:
        self.equal = 0
        self.different = 0
        self.not_recorded = 0
        self.not_made = 0
        self.first_difference = ""
        self._recorded = Recording(path).messages(COMPARED)
        self._waiting: dict[str, deque[Message]] = {topic: deque() for topic in COMPARED}

    def add(self, keyframes: Sequence[KeyframeOutput], outputs: Sequence[FrameOutput]) -> None:
        """The next keyframes and frames of the repeated run, in the order in which they are published."""
        messages = [message for keyframe in keyframes for message in encode_keyframe(keyframe)]
        messages += [message for output in outputs for message in encode_frame(output)]
        for message in messages:
            if message.topic in COMPARED:
                self._compare(message.topic, message.frame_id, message.payload)

    def finish(self, last_frame_id: int | None = None) -> None:
        """After the whole run: what is left of the recording was not made again.

        last_frame_id: of the last frame whose decisions are known, where the recording is cut: what follows could not
        be made.
        """
        for message in self._recorded:
            self._waiting[message.topic].append(message)
        for waiting in self._waiting.values():
            for message in waiting:
                if last_frame_id is None or message.envelope.frame_id <= last_frame_id:
                    self._miss(message)
            waiting.clear()

    @property
    def is_repeated(self) -> bool:
        """Whether no message differs and every recorded one was made again."""
        return not self.different and not self.not_made

    def summary(self) -> str:
        """One line for the user."""
        if self.is_repeated and not self.not_recorded:
            return f"all {self.equal} messages are equal to the recorded ones, byte by byte"
        words = f"{self.equal} messages are equal to the recorded ones, {self.different} differ"
        if self.not_made:
            words += f", {self.not_made} were not made again"
        if self.first_difference:
            words += f" (first {self.first_difference}; another machine, device or version?)"
        return f"{words}, {self.not_recorded} were not recorded" if self.not_recorded else words

    def as_dict(self) -> dict[str, Any]:
        """For stats.json."""
        return {
            "equal": self.equal,
            "different": self.different,
            "not_recorded": self.not_recorded,
            "not_made": self.not_made,
            "first_difference": self.first_difference,
        }

    def _compare(self, topic: str, frame_id: int, payload: bytes) -> None:
        recorded = self._recorded_one(topic, frame_id)
        if recorded is None:
            self.not_recorded += 1
        elif without_timings(topic, recorded.payload) == without_timings(topic, payload):
            self.equal += 1
        else:
            self.different += 1
            self.first_difference = self.first_difference or f"{topic} of frame {frame_id}"

    def _miss(self, message: Message) -> None:
        self.not_made += 1
        self.first_difference = self.first_difference or f"{message.topic} of frame {message.envelope.frame_id}"

    def _recorded_one(self, topic: str, frame_id: int) -> Message | None:
        """The recorded message of this topic and frame; those of the topic that come before it were not made again."""
        waiting = self._waiting[topic]
        while True:
            while waiting and waiting[0].envelope.frame_id < frame_id:
                self._miss(waiting.popleft())
            if waiting:
                return waiting.popleft() if waiting[0].envelope.frame_id == frame_id else None
            following = next(self._recorded, None)
            if following is None:
                return None
            self._waiting[following.topic].append(following)
