"""A recorded run, run again and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from spark3r_stream.recording.comparison import COMPARED, without_timings
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire


def payloads(path: Path) -> list[tuple[str, int, bytes]]:
    """/frame/, /depth/ and /cloud/ of a recording, in order, without the three timings of /frame/."""
    return [
        (m.topic, m.envelope.frame_id, without_timings(m.topic, m.payload)) for m in Recording(path).messages(COMPARED)
    ]


def assert_repeated(spark3r: Callable[..., int], first: Path, tmp_path: Path, *options: object) -> dict:
    """Run a recording again and record that: equal payloads, equal decisions. Returns stats.json."""
    again, out = tmp_path / "again.mcap", tmp_path / "again"
    assert spark3r("run", first, "--record", again, "--overwrite", "--out", out, *options) == 0
    expected = payloads(first)
    assert payloads(again) == expected
    assert {topic for topic, _, _ in expected} >= {wire.FRAME, wire.DEPTH}
    decisions, redone = (Recording(path).decisions() for path in (first, again))
    for old, new in zip(decisions, redone, strict=True):
        assert replace(new, started_ns=0, finished_ns=0) == replace(old, started_ns=0, finished_ns=0)
    stats = json.loads((out / "stats.json").read_text())
    compared = {"equal": len(expected), "different": 0, "not_recorded": 0, "not_made": 0, "first_difference": ""}
    assert stats["compared_with_recording"] == compared
    return stats
