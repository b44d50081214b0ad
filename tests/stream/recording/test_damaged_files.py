"""Files that are cut or damaged anywhere, and what is no recording of ours."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import RecordingError, VersionMismatch
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.replay import Replay
from spark3r_stream.recording.writer import METADATA, Recorder
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message
from tests.helpers_wire import START_NS, frames, make_sealer
from tests.stream.recording.small_recording import SETTINGS, record


def test_a_file_cut_anywhere_is_read_up_to_the_cut(tmp_path: Path) -> None:
    """Chunks of about three frames; whatever is cut, a prefix of the messages is left and no error."""
    whole = tmp_path / "whole.mcap"
    sealer = make_sealer()
    sent: list[Message] = []
    with Recorder(whole, SETTINGS, SystemClock(), flush_interval_s=0.0) as recorder:
        for batch in frames(sealer, range(12), size=(60, 80), points=300):
            recorder.send(batch)
            sent += batch
    data = whole.read_bytes()
    chooser = random.Random(0)
    cuts = [8, 9, 60, len(data) - 1, len(data) - 9, *(chooser.randrange(8, len(data)) for _ in range(60))]
    lengths = {}
    for cut in sorted(cuts):
        path = tmp_path / "cut.mcap"
        path.write_bytes(data[:cut])
        recording = Recording(path)
        messages = list(recording.messages())
        assert messages == sent[: len(messages)]
        info = recording.info()
        assert not info.complete
        assert info.cut
        assert sum(info.counts.values()) == len(messages)
        lengths[cut] = len(messages)
    assert list(lengths.values()) == sorted(lengths.values()), "a later cut keeps at least as much"
    assert lengths[len(data) - 1] == len(sent), "losing the index loses no message"


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_a_damaged_file_never_raises(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = bytearray(_whole_file(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(8, len(whole) - 1))
        whole[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.mcap"
    path.write_bytes(whole)
    try:
        recording = Recording(path)
    except VersionMismatch:  # the damage hit the version: an error that says so is right
        return
    with_damage = [recording.info(), list(recording.packets()), list(recording.decisions())]
    assert len(with_damage) == 3
    for message in recording.messages(start_ns=START_NS):
        assert message.topic in wire.TOPICS


_WHOLE: list[bytes] = []


def _whole_file(factory: pytest.TempPathFactory) -> bytes:
    if not _WHOLE:
        path = factory.mktemp("whole") / "run.mcap"
        record(path, count=3)
        _WHOLE.append(path.read_bytes())
    return _WHOLE[0]


def test_seek_skips_chunks_of_a_closed_file(tmp_path: Path) -> None:
    """By the index: damage to an early chunk, which stops a reader from the start, is not even met."""
    path, pause = tmp_path / "many.mcap", threading.Event()
    with Recorder(path, {}, SystemClock(), flush_interval_s=0.0) as recorder:
        for batch in frames(make_sealer(step_ns=10**9), range(20)):
            before = recorder.bytes_written
            recorder.send(batch)
            while recorder.bytes_written == before:
                pause.wait(0.001)
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    second = summary.chunk_indexes[1]
    data = bytearray(path.read_bytes())
    middle = second.chunk_start_offset + second.chunk_length // 2
    data[middle : middle + 8] = bytes(8)
    path.write_bytes(data)
    recording = Recording(path)
    assert [m.envelope.frame_id for m in recording.messages([wire.FRAME])] == [0]
    late = recording.messages([wire.FRAME], START_NS + 15 * 10**9)
    assert [m.envelope.frame_id for m in late] == list(range(15, 20))
    assert "damaged" in recording.info().cut


def test_what_is_no_recording_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot read"):
        Recording(tmp_path / "missing.mcap")
    text = tmp_path / "text.mcap"
    for content in ("", "hello", "x" * 1000):
        text.write_text(content)
        with pytest.raises(RecordingError, match="is not an MCAP recording"):
            Recording(text)
    with pytest.raises(RecordingError, match="cannot record to"):
        Recorder(tmp_path / "no" / "such" / "folder.mcap", {}, SystemClock())
    with pytest.raises(RecordingError, match="cannot record to"):
        Recorder(Path(os.devnull), {}, SystemClock())


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_metadata(METADATA, {"schema_version": f"{wire.SCHEMA_MAJOR + 1}.5"})
        writer.finish()
    with pytest.raises(VersionMismatch, match=rf"{wire.SCHEMA_MAJOR + 1}\.5.*{wire.SCHEMA_MAJOR}\.x"):
        Recording(path)


def test_a_foreign_mcap_has_no_messages_and_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "foreign.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("x", "jsonschema", b"{}")
        channel = writer.register_channel("/frame/", "json", schema)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    recording = Recording(path)
    assert list(recording.messages()) == []
    assert recording.malformed == 1
    with pytest.raises(RecordingError, match="no published messages"):
        Replay(path)
