"""A run held against its recording, payload by payload, while it is repeated."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from spark3r_stream.proto import wire_pb2
from spark3r_stream.recording.digest import Digest
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.encode import encode_frame, encode_keyframe, encode_map_corrections, encode_path_corrections
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput, MapCorrection, PathCorrection

# /pose/, /tf/ and /calib/ say again what is in /frame/ and in corrections.
COMPARED = (wire.FRAME, wire.DEPTH_CALIB, wire.DEPTH, wire.CLOUD, wire.MAP_CORRECTION, wire.PATH_CORRECTION)
TIMINGS = ("published_ns", "model_ms", "latency_ms")


def without_timings(topic: str, payload: bytes) -> bytes:
    """The payload with what can never be the same again cleared: publication time and the two durations of /frame/.

    Bytes that are no message stay as they are.
    """
    if topic != wire.FRAME:
        return payload
    try:
        result = wire_pb2.FrameResult.FromString(payload)
    except DecodeError:
        return payload
    for name in TIMINGS:
        result.ClearField(name)
    return result.SerializeToString(deterministic=True)


class _Mark(NamedTuple):
    """What is kept of a message: which one it is, in rising order on its topic, and a hash of its payload.

    key: (id of its frame, 0); of a correction (time of the newest frame, submap).
    """

    topic: str
    key: tuple[int, int]
    digest: bytes

    @staticmethod
    def of(topic: str, frame_id: int, captured_ns: int, submap: int, payload: bytes) -> _Mark:
        key = (captured_ns, submap) if topic == wire.MAP_CORRECTION else (frame_id, 0)
        return _Mark(topic, key, hashlib.sha256(without_timings(topic, payload)).digest())

    @property
    def name(self) -> str:
        if self.topic == wire.MAP_CORRECTION:
            return f"{self.topic} of submap {self.key[1]} at {self.key[0] / 1e9:.3f} s"
        return f"{self.topic} of frame {self.key[0]}"


class Comparison:
    """Compares what a repeated run publishes of frames, keyframes and corrections with what is in its recording.

    decided_only: leave out what was recorded after the last decisions: of a recording that was cut, it cannot be made.
    with_end: whether the run comes to the end that the recorded one came to; if not, what it makes after its last frame
    is compared with nothing.

    equal, different: messages. not_recorded: made now, but lost or never made in the recorded run. not_made: recorded,
    but not made now. first_difference: in words, empty without one.
    """

    def __init__(self, path: Path, *, decided_only: bool = False, with_end: bool = True) -> None:
        self.equal = 0
        self.different = 0
        self.not_recorded = 0
        self.not_made = 0
        self.first_difference = ""
        self._with_end = with_end
        self._recorded = _marks(Recording(path), decided_only)
        self._waiting: dict[str, deque[_Mark]] = {topic: deque() for topic in COMPARED}
        self._newest_ns, self._epoch = 0, 0

    def add(
        self,
        corrections: Sequence[MapCorrection],
        keyframes: Sequence[KeyframeOutput],
        outputs: Sequence[FrameOutput],
        retracked: Sequence[PathCorrection] = (),
    ) -> None:
        """What the next step of the repeated run publishes; without outputs it is the end, after the last frame."""
        if outputs:
            self._newest_ns, self._epoch = outputs[-1].result.captured_ns, outputs[-1].result.epoch
        elif not self._with_end:
            return
        messages = encode_map_corrections(corrections, self._newest_ns, self._epoch)
        messages += [message for keyframe in keyframes for message in encode_keyframe(keyframe)]
        messages += [message for output in outputs for message in encode_frame(output)]
        messages += encode_path_corrections(retracked, self._newest_ns, self._epoch)
        for m in messages:
            if m.topic in COMPARED:
                self.compare(_Mark.of(m.topic, m.frame_id, m.captured_ns, m.submap, m.payload))

    def finish(self) -> None:
        """After the whole run: what is left of the recording was not made again."""
        for mark in self._recorded:
            self._waiting[mark.topic].append(mark)
        for waiting in self._waiting.values():
            while waiting:
                self._miss(waiting.popleft())

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

    def compare(self, made: _Mark) -> None:
        """The next message of its topic."""
        recorded = self._recorded_one(made)
        if recorded is None:
            self.not_recorded += 1
        elif recorded.digest == made.digest:
            self.equal += 1
        else:
            self.different += 1
            self.first_difference = self.first_difference or made.name

    def _miss(self, mark: _Mark) -> None:
        self.not_made += 1
        self.first_difference = self.first_difference or mark.name

    def _recorded_one(self, made: _Mark) -> _Mark | None:
        """The recorded message that `made` is to be; those of its topic that come before it were not made again."""
        waiting = self._waiting[made.topic]
        while True:
            while waiting and waiting[0].key < made.key:
                self._miss(waiting.popleft())
            if waiting:
                return waiting.popleft() if waiting[0].key == made.key else None
            following = next(self._recorded, None)
            if following is None:
                return None
            self._waiting[following.topic].append(following)


def compared_recordings(made: Path, reference: Path) -> Comparison:
    """Two recordings, message by message, without their timings. Raises RecordingError."""
    comparison = Comparison(reference)
    for mark in _marks(Recording(made), decided_only=False):
        comparison.compare(mark)
    comparison.finish()
    return comparison


def _marks(recording: Recording, decided_only: bool) -> Iterator[_Mark]:
    """Of the recorded messages, in order."""
    for message in recording.compared(COMPARED, decided_only=decided_only):
        if isinstance(message, Digest):
            yield _Mark(message.topic, (message.frame_id, 0), message.sha256)
            continue
        envelope = message.envelope
        yield _Mark.of(message.topic, envelope.frame_id, envelope.captured_ns, envelope.submap, message.payload)
