"""A recording as a run that can be repeated: its settings, its decisions, and the proof that nothing is missing.

Frames, windows and losses of a live run depend on the timing of that day. They are in the recording, so repeating it
gives the payloads of frames, keyframes and corrections again byte by byte (docs/wire.md says what is excepted).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spark3r_stream.errors import RecordingError
from spark3r_stream.recording.reader import Recording, RecordingInfo
from spark3r_stream.recording.records import DECISIONS, INPUT_IMAGE, INPUT_PACKET, Decisions, FrameTime, RecordedPacket
from spark3r_stream.recording.schema import checked_digest, checked_settings
from spark3r_stream.stats import DropCause

INPUT_TOPICS = (INPUT_PACKET, INPUT_IMAGE)
_CAUSES = {cause.value for cause in DropCause}


@dataclass(frozen=True)
class RecordedRun:
    """decisions: of every window, in order. settings: of the run, see config.RunConfig; the source without credentials.

    has_input: False for a synthetic source, which is rendered again. cut: why the recording ends early, empty if it
    does not; what comes before the cut is complete.
    """

    recording: Recording
    settings: Mapping[str, Any]
    decisions: tuple[Decisions, ...]
    has_input: bool
    cut: str

    @staticmethod
    def load(path: Path) -> RecordedRun:
        """Reads the file twice: what is in it, and the decisions.

        Raises RecordingError if it cannot be read, is no recorded run, or if input or decisions were lost inside.
        """
        recording = Recording(path)
        info = recording.info()
        _refuse_losses(info)
        decisions = tuple(recording.decisions())
        if recording.malformed:
            raise RecordingError(
                f"{path}: {recording.malformed} decisions cannot be read, so the run cannot be repeated; the first:"
                f" {recording.first_malformed}"
            )
        if not decisions:
            raise RecordingError(
                f"{path} holds no decisions, only {', '.join(sorted(info.counts)) or 'nothing'}; a run that can be"
                " repeated is made with `spark3r run … --record`"
            )
        empty = [window.window for window in decisions if not window.new_frames]
        if empty:
            raise RecordingError(f"{path}: window {empty[0]} has no frames; the file is damaged")
        unknown = {drop.cause for window in decisions for drop in window.drops} - _CAUSES
        if unknown:
            raise RecordingError(f"{path} counts losses of unknown cause {sorted(unknown)[0]!r}; update spark3r-stream")
        _refuse_disorder(path, decisions)
        has_input = any(info.counts.get(topic) for topic in INPUT_TOPICS)
        settings = checked_settings(path, recording.metadata)
        return RecordedRun(recording, settings, decisions, has_input, "" if info.complete else info.cut)

    @property
    def path(self) -> Path:
        return self.recording.path

    @property
    def frame_count(self) -> int:
        return sum(len(window.new_frames) for window in self.decisions)

    def packets(self) -> Iterator[RecordedPacket]:
        """The recorded input, in the order it was received. Raises RecordingError where a packet cannot be read."""
        for due, recorded in enumerate(self.recording.packets()):
            if recorded.index != due:  # one that cannot be read is left out by the reader
                why = self.recording.first_malformed or "it is missing"
                raise RecordingError(f"{self.path}: packet {due} of the input cannot be read: {why}")
            yield recorded

    @property
    def source_id(self) -> str:
        """Name of the recorded source, without credentials."""
        return self.decisions[0].source_id

    @property
    def weights_sha256(self) -> str:
        """Hexadecimal, or "random"."""
        return self.recording.metadata.get("weights_sha256", "unknown")

    @property
    def map_sha256(self) -> str | None:
        """Hexadecimal, of the saved map that the run began from; None where it began without one. Raises
        RecordingError for anything else."""
        return checked_digest(self.path, self.recording.metadata, "map_sha256")


def _refuse_disorder(path: Path, decisions: Sequence[Decisions]) -> None:
    """Frames of a run are numbered upwards, and so are the pictures of an epoch; everything behind relies on it."""
    last = FrameTime(-1, 0, None, 0, -1)
    for window in decisions:
        for frame in window.new_frames:
            place, before = (frame.epoch, frame.picture), (last.epoch, last.picture)
            if frame.frame_id <= last.frame_id or place <= before:
                raise RecordingError(
                    f"{path}: frame {frame.frame_id} (picture {place[1]} of epoch {place[0]}) comes after frame"
                    f" {last.frame_id} (picture {before[1]} of epoch {before[0]}); the file is damaged"
                )
            last = frame


def _refuse_losses(info: RecordingInfo) -> None:
    for topic, what in ((INPUT_PACKET, "packet"), (INPUT_IMAGE, "image"), (DECISIONS, "window")):
        lost = max(info.missed.get(topic, 0), info.dropped.get(topic, 0))
        if lost:
            where = f"the first is {what} {info.first_missed[topic]}" if topic in info.first_missed else "at its end"
            raise RecordingError(
                f"{info.path} lost {lost} messages on {topic} while it was written ({where}), so the run cannot be"
                " repeated exactly; `spark3r replay` plays what was published"
            )
