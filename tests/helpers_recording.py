"""Recordings written anew with something changed: valid MCAP, whatever it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from spark3r_stream.recording.writer import METADATA

Change = Callable[[str, bytes], "bytes | None"]


def rewrite(
    source: Path,
    target: Path,
    metadata: dict[str, str | None] | None = None,
    change: Change = lambda topic, data: data,
    *,
    metadata_last: bool = False,
    compression: CompressionType = CompressionType.ZSTD,
    rename: Callable[[str], str] = lambda topic: topic,
) -> Path:
    """`target`: the recording `source` with other values of its metadata (None: without it) and changed messages.

    change: topic and payload to the new payload, None to leave the message out. rename: of topics.
    """
    with source.open("rb") as file, target.open("wb") as out:
        reader = make_reader(file)
        old = {record.name: dict(record.metadata) for record in reader.iter_metadata()}
        for name, value in (metadata or {}).items():
            old[METADATA].pop(name, None)
            if value is not None:
                old[METADATA][name] = value
        writer = Writer(out, compression=compression)
        writer.start(profile="", library="spark3r-stream")
        if not metadata_last:
            for name, content in old.items():
                writer.add_metadata(name, content)
        channels: dict[str, int] = {}
        for schema, channel, message in reader.iter_messages(log_time_order=False):
            data = change(channel.topic, message.data)
            if data is None:
                continue
            topic = rename(channel.topic)
            if topic not in channels:
                assert schema is not None
                schema_id = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[topic] = writer.register_channel(topic, channel.message_encoding, schema_id)
            writer.add_message(channels[topic], message.log_time, data, message.publish_time, message.sequence)
        if metadata_last:
            for name, content in old.items():
                writer.add_metadata(name, content)
        writer.finish()
    return target
