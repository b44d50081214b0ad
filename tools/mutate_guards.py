"""Does a test notice when a guard is gone? Removes each in turn in a copy of the tree and runs the tests that should.

    python tools/mutate_guards.py             # a table; exit code 1 if a mutation survives
    python tools/mutate_guards.py MAXMSGSIZE  # only those whose text has it

A guard is a check that only hostile or damaged input ever meets, so nothing but such a test shows that it is there.
To add one: a line in GUARDS with the file, a text that occurs once in it, what to put there, and the tests to run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("spark3r_core", "spark3r_stream", "tests", "tools", "pyproject.toml")
TIMEOUT_S = 300.0


class Guard(NamedTuple):
    """file and old: where it is; new: the text without it; tests: what pytest is given, from the root."""

    file: str
    old: str
    new: str
    tests: str


PUBLISHER = "spark3r_stream/pubsub/publisher.py"
SUBSCRIBER = "spark3r_stream/pubsub/subscriber.py"
SUB_SOCKET = "spark3r_stream/pubsub/subscriber_socket.py"
DESK = "spark3r_stream/pubsub/snapshot_desk.py"
SUBSCRIPTIONS = "spark3r_stream/pubsub/subscriptions.py"
RELAY = "spark3r_stream/pubsub/relay.py"
SNAPSHOT_CLIENT = "spark3r_stream/pubsub/snapshot_client.py"
ENVELOPE = "spark3r_stream/wire/envelope.py"
DECODE = "spark3r_stream/wire/decode.py"
BULK = "spark3r_stream/wire/bulk_field.py"
FLOODS = "tests/stream/pubsub/test_floods.py"
GUARDS_TESTS = "tests/stream/pubsub/test_guards.py"
WIRE_TESTS = "tests/stream/wire/test_wire.py"

MCAP = "spark3r_stream/recording/mcap_file.py"
CHUNK_GUARDS = "tests/stream/recording/test_chunk_guard.py"

REDACT = "spark3r_stream/sources/redact.py"
SOURCE_PARTS = "tests/stream/sources/test_source_parts.py"
OFFLINE = "spark3r_stream/cli/offline.py"
COMPARISON = "spark3r_stream/recording/comparison.py"
COMPARISON_TESTS = "tests/stream/recording/test_comparison.py"
REPROCESS_TRACKED = "tests/stream/recording/test_reprocess_tracking.py"
DEAD_WORKERS = "tests/stream/cli/test_dead_workers.py"
SCENE_TESTS = "tests/stream/map/test_scene_map.py"
RELAY_DEATH = f"{FLOODS} -k relay_dies"

GUARDS = [
    Guard(PUBLISHER, "sock.setsockopt(zmq.MAXMSGSIZE, wire.KIB)", "pass", GUARDS_TESTS),
    Guard(
        PUBLISHER,
        "sock.setsockopt(zmq.MAXMSGSIZE, wire.KIB)",
        "sock.setsockopt(zmq.MAXMSGSIZE, -1 if kind == zmq.XPUB else wire.KIB)",
        GUARDS_TESTS,
    ),
    Guard(
        PUBLISHER,
        "sock.setsockopt(zmq.MAXMSGSIZE, wire.KIB)",
        "sock.setsockopt(zmq.MAXMSGSIZE, -1 if kind == zmq.ROUTER else wire.KIB)",
        GUARDS_TESTS,
    ),
    Guard(PUBLISHER, "sock.setsockopt(zmq.HANDSHAKE_IVL, 5000)", "pass", GUARDS_TESTS),
    Guard(PUBLISHER, "sock.setsockopt(zmq.HEARTBEAT_IVL, 2000)", "pass", GUARDS_TESTS),
    Guard(
        PUBLISHER,
        "sock.setsockopt(zmq.HEARTBEAT_IVL, 2000)",
        "sock.setsockopt(zmq.HEARTBEAT_IVL, 0 if kind == zmq.ROUTER else 2000)",
        GUARDS_TESTS,
    ),
    Guard(PUBLISHER, "sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)", "pass", GUARDS_TESTS),
    Guard(PUBLISHER, "sock.setsockopt(zmq.RCVHWM, 0)", "pass", GUARDS_TESTS),
    Guard(SUB_SOCKET, "self.socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_PART_BYTES)", "pass", GUARDS_TESTS),
    Guard(SUB_SOCKET, "self.socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)", "pass", GUARDS_TESTS),
    Guard(SUB_SOCKET, "self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)", "pass", GUARDS_TESTS),
    Guard(SNAPSHOT_CLIENT, "self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)", "pass", GUARDS_TESTS),
    Guard(ENVELOPE, "if len(data) > MAX_ENVELOPE_BYTES:", "if False:", WIRE_TESTS),
    Guard(ENVELOPE, "if len(payload) > MAX_WELCOME_BYTES:", "if False:", WIRE_TESTS),
    Guard(ENVELOPE, "if size > limit:", "if False:", WIRE_TESTS),
    Guard(
        SUBSCRIPTIONS,
        "if any(known.startswith(prefix) for known in (*wire.TOPICS, wire.WELCOME)):",
        "if True:",
        GUARDS_TESTS,
    ),
    Guard(
        SUBSCRIPTIONS, "if subscribed and len(topic) <= MAX_READY_TOPIC_BYTES else", "if subscribed else", GUARDS_TESTS
    ),
    Guard(PUBLISHER, "for _ in range(_SUBSCRIPTIONS_PER_TURN):", "while True:", GUARDS_TESTS),
    Guard(PUBLISHER, "self._relays[0].hang_up_on_the_busiest()", "pass", FLOODS),
    Guard(PUBLISHER, "except Exception as error:  # whatever", "except OSError as error:  # whatever", FLOODS),
    Guard(DESK, "len(self._requests) < _MAX_WAITING_REQUESTS", "True", GUARDS_TESTS),
    Guard(DESK, "self._time_s.spend(time.monotonic() - began_s)", "pass", GUARDS_TESTS),
    Guard(DESK, "sum(size for _, size in self._unread) >= _MAX_UNREAD_REPLY_BYTES", "False", GUARDS_TESTS),
    Guard(RELAY, "if limit is not None and link.uploaded > ", "if limit is not None and 0 > ", FLOODS),
    Guard(RELAY, "full = limit is not None and link.waiting_cost >= limit", "full = False", FLOODS),
    Guard(SUBSCRIBER, " or self._pending_bytes > MAX_WAITING_BYTES", "", FLOODS),
    Guard(SUBSCRIBER, "break  # what is not for the caller may come for ever", "pass", FLOODS),
    Guard(BULK, "if rest > _MAX_REST_BYTES:", "if False:", FLOODS),
    Guard("spark3r_stream/pubsub/snapshot.py", "check_fields(data, _REPLY_FIELDS)", "pass", FLOODS),
    Guard(DECODE, "if not (min(matrix[0, 0], matrix[1, 1]) >= _LEAST_FOCAL", "if not (True", FLOODS),
    Guard(DECODE, "if number == frame_name or not (number.isascii()", "if False and not (number.isascii()", FLOODS),
    Guard(MCAP, "if frame_bytes not in (claimed, zstandard.CONTENTSIZE_UNKNOWN):", "if False:", CHUNK_GUARDS),
    Guard(MCAP, "max_length=claimed + 1", "max_length=-1", CHUNK_GUARDS),
    Guard(MCAP, "if count > limit:", "if False:", CHUNK_GUARDS),
    Guard(MCAP, "if self._records < 0:", "if False:", CHUNK_GUARDS),
    Guard(MCAP, "if length > _MAX_BYTES[opcode]:", "if False:", CHUNK_GUARDS),
    Guard("spark3r_stream/recording/records.py", "if len(payload) > MAX_DECISIONS_BYTES:", "if False:", CHUNK_GUARDS),
    Guard("spark3r_stream/recording/records.py", "if count > most:", "if False:", CHUNK_GUARDS),
    Guard("spark3r_stream/sources/images.py", "if max_pixels is not None and ", "if False and ", CHUNK_GUARDS),
    Guard(
        "spark3r_stream/sources/packet_decoder.py", 'context.options = {"max_pixels"', '_ = {"max_pixels"', CHUNK_GUARDS
    ),
    Guard(MCAP, "budget.take_bytes(claimed)", "pass", CHUNK_GUARDS),
    Guard(RELAY, "self.error = error", "pass", RELAY_DEATH),
    Guard(SUB_SOCKET, "if self.relay.error is not None:", "if False:", RELAY_DEATH),
    Guard("spark3r_stream/pubsub/handshake.py", "| zmq.EVENT_DISCONNECTED", "", RELAY_DEATH),
    Guard(PUBLISHER, "relay.keep_running()", "pass", f"{FLOODS} -k started"),
    Guard("spark3r_stream/engine/sinks.py", "self._on_error(error)", "pass", f"{DEAD_WORKERS} -k heartbeat"),
    Guard(
        "spark3r_stream/cli/run.py",
        "_raise_what_ended(failures, recorder)  # while everything was closed",
        "pass",
        f"{DEAD_WORKERS} -k while_it_is_closed",
    ),
    Guard("spark3r_stream/engine/producer.py", "self._buffer.fail(error)", "raise", f"{DEAD_WORKERS} -k Synthetic"),
    Guard("spark3r_stream/map/scene_map.py", "if len(self._clouds) >= MAX_SUBMAPS:", "if False:", SCENE_TESTS),
    Guard(
        "spark3r_stream/map/scene_map.py",
        "if known is None and len(self._map_from_submap) >= MAX_SUBMAPS:",
        "if False:",
        SCENE_TESTS,
    ),
    Guard(REDACT, 'is_rtmp = authority[:4].lower() == "rtmp"', "is_rtmp = False", SOURCE_PARTS),
    Guard(REDACT, "piece, _reads_like_a_name(piece)", "piece, True", SOURCE_PARTS),
    Guard(REDACT, "if digits > _DIGITS or ", "if ", SOURCE_PARTS),
    Guard(OFFLINE, "check_table(save)", "pass", "tests/stream/cli/test_cli_offline.py -k probe"),
    Guard(
        OFFLINE,
        "write_whole(save, table.as_json().encode())",
        "table.save(save)",
        "tests/stream/cli/test_cli_offline.py -k probe",
    ),
    Guard(COMPARISON, ", wire.MAP_CORRECTION, wire", ", wire", COMPARISON_TESTS),
    Guard(COMPARISON, "elif not self._with_end:", "elif False:", f"{REPROCESS_TRACKED} -k cut_anywhere"),
    Guard(
        "spark3r_stream/recording/reader.py",
        "if decided_only:",
        "if False:",
        f"{REPROCESS_TRACKED} -k cut_anywhere",
    ),
    Guard(
        "spark3r_stream/recording/writer.py",
        "except Exception as error:  # whatever",
        "except MemoryError as error:  # whatever",
        "tests/stream/recording/test_dead_recorder.py",
    ),
]


def main() -> None:
    chosen = [guard for guard in GUARDS if all(word in " ".join(guard) for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory(prefix="spark3r-mutate-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tree / name)
        unharmed = {tests: run(tree, tests) for tests in sorted({guard.tests for guard in chosen})}
        survived = 0
        for guard in chosen:
            verdict = "TESTS FAIL" if unharmed[guard.tests] else mutate(tree, guard)
            survived += verdict != "noticed"
            print(f"{verdict:<12} {guard.file}: {guard.old[:70]}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutations were noticed")
    sys.exit(1 if survived else 0)


def mutate(tree: Path, guard: Guard) -> str:
    """Run the tests without the guard: "noticed" if one fails."""
    file = tree / guard.file
    text = file.read_text(encoding="utf-8")
    if text.count(guard.old) != 1:
        return f"found {text.count(guard.old)} times, expected once"
    file.write_text(text.replace(guard.old, guard.new), encoding="utf-8")
    try:
        return "noticed" if run(tree, guard.tests) else "SURVIVED"
    finally:
        file.write_text(text, encoding="utf-8")


def run(tree: Path, tests: str) -> int:
    """pytest's exit code; 1 if it takes too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, timeout=TIMEOUT_S, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return 1
    if done.returncode not in (0, 1):  # no tests, or none that could be collected: that proves nothing
        sys.exit(f"pytest {tests} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode


if __name__ == "__main__":
    main()
