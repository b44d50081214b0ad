"""Reading a recording, whole or cut short, from anyone: bounded, checked, in the order it was written."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Footer, Metadata
from mcap.records import Message as McapMessage
from mcap.stream_reader import CRCValidationError
from mcap.summary import Summary

from spark3r_stream.errors import RecordingError, VersionMismatch, WireError
from spark3r_stream.recording.digest import DIGEST, Digest, decode_digest
from spark3r_stream.recording.mcap_file import MAX_RECORD_BYTES, Record, StrictFile, read_records
from spark3r_stream.recording.records import (
    DECISIONS,
    INPUT_IMAGE,
    INPUT_PACKET,
    Decisions,
    RecordedPacket,
    decode_decisions,
    decode_packet,
)
from spark3r_stream.recording.schema import check_decisions, check_packet, checked_losses, checked_metadata
from spark3r_stream.recording.target import MAGIC
from spark3r_stream.recording.writer import ENVELOPE, METADATA, METADATA_END
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Envelope, Message

# What the parsers raise for bytes that are no records.
_DAMAGE = (
    McapError, CRCValidationError, struct.error, ValueError, LookupError, OverflowError, RuntimeError, MemoryError,
    zstandard.ZstdError,
)  # fmt: skip


@dataclass(frozen=True)
class RecordingInfo:
    """What a recording holds.

    complete: it was closed properly and nothing is damaged.  cut: why reading ended early, empty if it did not.
    counts: messages by topic, envelopes left out.  missed: numbers that are missing between the first and the last
    message of a topic, lost by the recorder; first_missed: the first of those numbers (packets and images of the input
    are numbered together).  dropped: what the recorder itself counted, by topic, if it was closed.
    start_ns, end_ns: publication times, 0 if empty.
    """

    path: Path
    size_bytes: int
    complete: bool
    cut: str
    metadata: dict[str, str]
    counts: dict[str, int]
    missed: dict[str, int]
    first_missed: dict[str, int]
    dropped: dict[str, int]
    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass
class _Scan:
    """What one pass over the file met."""

    cut: str = ""
    closed: bool = False
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)


class Recording:
    """An MCAP file made by `Recorder`.

    Raises RecordingError if it cannot be opened or is not MCAP, and VersionMismatch if it was made with another major
    version of the schema. Every iterator reads the file anew, in the order of writing, and ends at a cut or at
    damage without an error; `info` says whether there was one.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                magic = file.read(len(MAGIC))
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror}") from None
        if magic != MAGIC:
            raise RecordingError(f"{path} is not an MCAP recording; expected a file made with --record")
        self.malformed = 0
        self.first_malformed = ""  # what was wrong with it
        self.metadata = checked_metadata(self.path, self._first_metadata())
        major, _, minor = self.metadata.get("schema_version", f"{wire.SCHEMA_MAJOR}.0").partition(".")
        if major != str(wire.SCHEMA_MAJOR):
            raise VersionMismatch(f"the recording {path}", f"{major}.{minor}", f"{wire.SCHEMA_MAJOR}.x")

    @property
    def note(self) -> str:
        """What its reader should know of it, one line; empty for a recording of everything."""
        if self.metadata.get("content") != "input":
            return ""
        return (
            f"{self.path} holds the input and the camera's path, and neither depth nor points (--record-only input);"
            f" `spark3r run {self.path}` makes them again"
        )

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, *, decided_only: bool = False
    ) -> Iterator[Message]:
        """The published messages as they were sent, of some topics (None: all), from publication time `start_ns` on.

        decided_only: only those of windows whose decisions are in the file, too. They follow the window's messages.
        Malformed ones are skipped and counted in `malformed`.
        """
        for message in self.compared(topics, start_ns, decided_only=decided_only):
            if isinstance(message, Message):
                yield message

    def compared(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, *, decided_only: bool = False
    ) -> Iterator[Message | Digest]:
        """As `messages`, with the hash of a payload where the recording has only that."""
        pending: tuple[Envelope, str] | None = None
        records = self._records(_Scan(), start_ns)
        if decided_only:
            records = islice(records, self._records_until_decided(start_ns))
        for topic, record in records:
            try:
                if topic == ENVELOPE:
                    pending = Envelope.from_bytes(record.data)
                elif topic == DIGEST:
                    digest = decode_digest(record.data)
                    if topics is None or digest.topic in topics:
                        yield digest
                elif topic in wire.MAX_PAYLOAD_BYTES:
                    envelope, pending = pending, None
                    if envelope is None or envelope[1] != topic:
                        raise WireError(f"message on {topic} without its envelope")
                    wire.check_payload_size(topic, len(record.data))
                    late_enough = start_ns is None or envelope[0].published_ns >= start_ns
                    if late_enough and (topics is None or topic in topics):
                        yield Message(topic, envelope[0], record.data)
            except VersionMismatch:
                raise
            except WireError as error:
                self._note(error)

    def packets(self) -> Iterator[RecordedPacket]:
        """The recorded input, in the order it was received."""
        for topic, record in self._records(_Scan()):
            if topic in (INPUT_PACKET, INPUT_IMAGE):
                try:
                    packet = decode_packet(topic, record.data, record.sequence, record.log_time)
                    check_packet(packet.index, packet.packet)
                except (WireError, ValueError) as error:
                    self._note(error)
                else:
                    yield packet

    def decisions(self) -> Iterator[Decisions]:
        """What was decided about each window, in order."""
        for topic, record in self._records(_Scan()):
            if topic == DECISIONS:
                try:
                    decisions = decode_decisions(record.data)
                    check_decisions(decisions)
                except (WireError, ValueError) as error:
                    self._note(error)
                else:
                    yield decisions

    def everything(self) -> Iterator[Record]:
        """Every record as it is in the file, for a copy: schemas, channels, messages of any topic, metadata."""
        with self.path.open("rb") as file:
            yield from _read(file, _Scan())

    def info(self) -> RecordingInfo:
        """Reads the whole file once."""
        scan = _Scan()
        counts: Counter[str] = Counter()
        missed: Counter[str] = Counter()
        first_missed: dict[str, int] = {}
        # what counts from 0 in every recording; the published topics may have been sent before
        expected: dict[str, int] = {"input": 0, DECISIONS: 0, DIGEST: 0}
        start_ns, end_ns = 0, 0
        for topic, record in self._records(scan):
            if topic == ENVELOPE:
                continue
            counts[topic] += 1
            numbering = "input" if topic in (INPUT_PACKET, INPUT_IMAGE) else topic
            due = expected.get(numbering, record.sequence)
            if record.sequence > due:
                missed[topic] += record.sequence - due
                first_missed.setdefault(topic, due)
            expected[numbering] = record.sequence + 1
            start_ns = record.log_time if sum(counts.values()) == 1 else min(start_ns, record.log_time)
            end_ns = max(end_ns, record.log_time)
        dropped = checked_losses(scan.metadata.get(METADATA_END, {}).get("dropped", "{}"))
        return RecordingInfo(
            path=self.path,
            size_bytes=self.path.stat().st_size,
            complete=scan.closed and not scan.cut,
            cut=scan.cut,
            metadata=self.metadata,
            counts=dict(counts),
            missed=dict(missed),
            first_missed=first_missed,
            dropped=dropped,
            start_ns=start_ns,
            end_ns=end_ns,
        )

    def _records_until_decided(self, start_ns: int | None) -> int:
        """How many records there are up to the last decisions."""
        numbers = enumerate(self._records(_Scan(), start_ns), 1)
        return max((number for number, (topic, _) in numbers if topic == DECISIONS), default=0)

    def _note(self, error: Exception) -> None:
        self.malformed += 1
        self.first_malformed = self.first_malformed or str(error)

    def _first_metadata(self) -> dict[str, str]:
        scan = _Scan()
        with self.path.open("rb") as file:
            for _ in _read(file, scan, messages=False):
                if METADATA in scan.metadata:
                    break
        return scan.metadata.get(METADATA, {})

    def _records(self, scan: _Scan, start_ns: int | None = None) -> Iterator[tuple[str, McapMessage]]:
        """Every message record with its topic, in file order; `start_ns` may skip chunks that end before it."""
        topics: dict[int, str] = {}
        with self.path.open("rb") as file:
            summary = _summary(file) if start_ns is not None else None
            offset = 0
            if summary is not None and start_ns is not None:
                topics = {channel.id: channel.topic for channel in summary.channels.values()}
                offset = min(
                    (c.chunk_start_offset for c in summary.chunk_indexes if c.message_end_time >= start_ns),
                    default=max((c.chunk_start_offset for c in summary.chunk_indexes), default=0),
                )
            if offset > self.path.stat().st_size:  # an index that lies
                offset = 0
            file.seek(offset)
            for record in _read(file, scan, at_start=offset == 0):
                if isinstance(record, Channel):
                    topics[record.id] = record.topic
                elif isinstance(record, McapMessage) and record.channel_id in topics:
                    yield topics[record.channel_id], record


def _read(file: IO[bytes], scan: _Scan, *, at_start: bool = True, messages: bool = True) -> Iterator[Record]:
    """All records; ends at the first one that is cut, damaged or too large, and says so in `scan`."""
    try:
        for record in read_records(file, at_start=at_start, messages=messages):
            if isinstance(record, Metadata) and record.name in (METADATA, METADATA_END):
                scan.metadata.setdefault(record.name, record.metadata)
            yield record
            scan.closed = isinstance(record, Footer)
    except EndOfFile:
        scan.cut = f"the file ends in the middle of a record, after byte {file.tell()}"
    except _DAMAGE as error:
        scan.cut = f"damaged before byte {file.tell()}: {error}"


def _summary(file: IO[bytes]) -> Summary | None:
    """The index at the end of a closed file; None where it is missing or damaged."""
    try:
        return SeekingReader(StrictFile(file), record_size_limit=MAX_RECORD_BYTES).get_summary()  # type: ignore[arg-type]
    except _DAMAGE:
        return None
