"""Writing a recording: MCAP with the published bytes, the input as received and the decisions, in a thread of its own.

Channels: the published topics with their payloads, unchanged; `/envelope/`, one message before each of those with its
envelope and topic; `/input/packet/` or `/input/image/`; `/decisions/`; `/digest/` for what `only_input` leaves out.
Every schema is stored whole, so any MCAP tool can read the file. A chunk is closed every second: a file cut anywhere
is read up to its last whole chunk.

Nothing here ever blocks or stops the engine: what does not fit the queue is dropped and counted, and a disk that is
full or gone ends the recording, not the run.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import register_schema

from spark3r_stream.clock import Clock
from spark3r_stream.errors import RecordingError
from spark3r_stream.packets import InputPacket
from spark3r_stream.proto import recording_pb2, wire_pb2
from spark3r_stream.recording.digest import DIGEST, HASHED, KEPT, encode_digest
from spark3r_stream.recording.records import (
    DECISIONS,
    INPUT_IMAGE,
    INPUT_PACKET,
    Decisions,
    encode_decisions,
    encode_packet,
)
from spark3r_stream.recording.target import RecordingTarget
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import schema_of
from spark3r_stream.wire.envelope import Envelope, Message

ENVELOPE = "/envelope/"
METADATA = "spark3r"
METADATA_END = "spark3r.end"
CHUNK_BYTES = 8 * wire.MIB
_SCHEMAS: dict[str, Any] = {
    ENVELOPE: wire_pb2.Envelope,
    **{topic: schema_of(topic) for topic in wire.TOPICS},
    INPUT_PACKET: recording_pb2.InputPacket,
    INPUT_IMAGE: CompressedImage,
    DECISIONS: recording_pb2.Decisions,
    DIGEST: recording_pb2.Digest,
}


@dataclass(frozen=True)
class _Record:
    topic: str
    payload: bytes
    time_ns: int
    sequence: int
    envelope: Envelope | None = None


class Recorder:
    """Records one session into an MCAP file.

    path: takes this name with the first published message, or when closed with anything in it; until then the file is
    FILE.xxxxxxxx.part beside it, which is removed if nothing came.
    only_input: of the published messages keep those that say where the camera was, and the hashes of depth and clouds.
    overwrite: whether an older recording of that name may be replaced; anything else never is.
    metadata: settings, versions, weights hash: strings that let a stranger repeat the run.
    source_id: of the input, without credentials.
    queue_bytes: payload bytes that may wait for the disk; beyond them messages are dropped and counted.
    flush_interval_s: how often a chunk is closed and written out.
    on_error: called once, from the recorder's thread, when the file cannot be written any more.

    Raises RecordingError if the file cannot be created or would replace what it may not. End of life: `close` (or
    leaving the `with` block) writes what is queued and the index.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, str],
        clock: Clock,
        *,
        source_id: str = "",
        only_input: bool = False,
        overwrite: bool = False,
        queue_bytes: int = 256 * wire.MIB,
        flush_interval_s: float = 1.0,
        on_error: Callable[[RecordingError], None] | None = None,
    ) -> None:
        self.path = path
        self.error: RecordingError | None = None
        self.broken = False  # ended by a fault of this program, not of the disk
        self._clock = clock
        self._source_id = source_id
        self._only_input = only_input
        self._queue_bytes = queue_bytes
        self._flush_interval_s = flush_interval_s
        self._on_error = on_error
        self._queue: deque[_Record] = deque()
        self._taken: deque[_Record] = deque()  # by the thread; the first is being written
        self._queued_bytes = 0
        self._packet_index = 0
        self._digests = 0
        self._records = 0  # written
        self._dropped: Counter[str] = Counter()
        self._stopping = False
        self._changed = threading.Condition()
        try:
            self._file = RecordingTarget(path, overwrite)
            self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)  # type: ignore[arg-type]
            self._writer.start(profile="", library="spark3r-stream")
            version = f"{wire.SCHEMA_MAJOR}.{wire.SCHEMA_MINOR}"
            about = {"schema_version": version, "source_id": source_id, "content": "input" if only_input else "all"}
            self._writer.add_metadata(METADATA, {**about, **metadata})
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            reason = getattr(error, "strerror", None) or error
            raise RecordingError(f"cannot record to {path}: {reason}; choose another file") from None
        self._channels = {
            topic: self._writer.register_channel(topic, "protobuf", register_schema(self._writer, schema))
            for topic, schema in _SCHEMAS.items()
        }
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def send(self, messages: Iterable[Message]) -> None:
        """Queue published messages; never blocks, callable from any thread."""
        self._put(
            _Record(
                message.topic,
                message.payload,
                message.envelope.published_ns,
                message.envelope.sequence,
                message.envelope,
            )
            for message in messages
            if not self._only_input or message.topic in (*KEPT, *HASHED)
        )

    def packet(self, packet: InputPacket) -> None:
        """Queue one packet of the input as received; the hook for `SourceOptions.on_packet`."""
        received_ns = self._clock.unix_ns()
        with self._changed:
            index, self._packet_index = self._packet_index, self._packet_index + 1
        topic, payload = encode_packet(packet, index, received_ns, self._source_id)
        self._put([_Record(topic, payload, received_ns, index)])

    def decisions(self, decisions: Decisions) -> None:
        """Queue the decisions of one window."""
        payload = encode_decisions(decisions)
        self._put([_Record(DECISIONS, payload, decisions.finished_ns or self._clock.unix_ns(), decisions.window)])

    @property
    def dropped(self) -> dict[str, int]:
        """What was not recorded, by topic: the disk was slower than the stream, or failed (`error`)."""
        with self._changed:
            return dict(self._dropped)

    @property
    def bytes_written(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        """Write what is queued, then the index; further calls do nothing."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, records: Iterable[_Record]) -> None:
        with self._changed:
            for record in records:
                size = len(record.payload)
                if self._stopping or self.error is not None or self._queued_bytes + size > self._queue_bytes:
                    self._dropped[record.topic] += 1
                    continue
                self._queue.append(record)
                self._queued_bytes += size
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._write_until_stopped()
            losses = {"dropped": json.dumps(self.dropped), "packets": str(self._packet_index)}
            self._writer.add_metadata(METADATA_END, losses)
            self._writer.finish()
            if self._records:
                self._file.take_name()
        except RecordingError as error:
            self._fail(error)
        except OSError as error:
            self._fail(RecordingError(f"recording to {self.path} ended: {error.strerror}; what it holds can be read"))
        except Exception as error:  # whatever it is, a thread that dies unseen would be a loss unseen
            self.broken = True
            reason = f"{type(error).__name__}: {error}"
            self._fail(RecordingError(f"recording to {self.path} broke off: {reason}; this is a fault of the program"))
        finally:
            self._file.close()

    def _write_until_stopped(self) -> None:
        flush_at_ns = self._clock.monotonic_ns()
        unflushed = False
        while True:
            with self._changed:
                # with something unflushed the wait is bounded: a source that falls silent is on disk a second later
                self._changed.wait_for(
                    lambda: self._queue or self._stopping, self._flush_interval_s if unflushed else None
                )
                records, self._queue = self._queue, deque()
                self._taken = records
                self._queued_bytes = 0
                stopping = self._stopping
                idle = not records
            unflushed = unflushed or bool(records)
            while records:
                self._write(records[0])
                records.popleft()
            now_ns = self._clock.monotonic_ns()
            if unflushed and (idle or now_ns - flush_at_ns >= self._flush_interval_s * 1e9):
                self._writer.flush()
                flush_at_ns, unflushed = now_ns, False
            if stopping and idle:
                return

    def _write(self, record: _Record) -> None:
        if record.envelope is None:
            self._add(record.topic, record.time_ns, record.sequence, record.payload)
        elif self._only_input and record.topic in HASHED:
            digest = encode_digest(record.topic, record.envelope, record.payload)
            self._add(DIGEST, record.time_ns, self._digests, digest)
            self._digests += 1
        else:
            # envelope first: a cut between the two loses the message, and no reader takes a payload for another's
            self._add(ENVELOPE, record.time_ns, record.sequence, record.envelope.to_bytes(record.topic))
            self._add(record.topic, record.time_ns, record.sequence, record.payload)
        self._records += 1
        if record.envelope is not None:
            self._file.take_name()

    def _add(self, topic: str, time_ns: int, sequence: int, data: bytes) -> None:
        self._writer.add_message(
            channel_id=self._channels[topic],
            log_time=time_ns,
            publish_time=time_ns,
            sequence=sequence & 0xFFFFFFFF,
            data=data,
        )

    def _fail(self, error: RecordingError) -> None:
        with self._changed:
            self.error = error
            for record in (*self._taken, *self._queue):
                self._dropped[record.topic] += 1
            self._taken.clear()
            self._queue.clear()
        if self._on_error is not None:
            self._on_error(error)
