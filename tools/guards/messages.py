"""Guards against what comes over sockets, of a publisher and its subscribers, and against threads that die unheard."""

from __future__ import annotations

from tools.guards.guard import Guard

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
DEAD_WORKERS = "tests/stream/cli/test_dead_workers.py"
RELAY_DEATH = f"{FLOODS} -k relay_dies -o timeout=30"

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
        "if any(known.startswith(prefix) for known in self._known):",
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
    Guard(RELAY, "self.error = error", "pass", RELAY_DEATH),
    Guard(SUB_SOCKET, "if self.relay.error is not None:", "if False:", RELAY_DEATH),
    Guard("spark3r_stream/pubsub/handshake.py", "| zmq.EVENT_DISCONNECTED", "", RELAY_DEATH),
    Guard(SUB_SOCKET, "_LONGEST_WAIT_S = 1.0", "_LONGEST_WAIT_S = 1000.0", RELAY_DEATH),
    Guard(PUBLISHER, "relay.keep_running()", "pass", f"{FLOODS} -k started"),
    Guard("spark3r_stream/engine/sinks.py", "self._on_error(error)", "pass", f"{DEAD_WORKERS} -k heartbeat"),
    Guard(
        "spark3r_stream/running/run.py",
        "_raise_what_ended(failures, recorder)  # while everything was closed",
        "pass",
        f"{DEAD_WORKERS} -k while_it_is_closed",
    ),
    Guard("spark3r_stream/engine/producer.py", "self._buffer.fail(error)", "raise", f"{DEAD_WORKERS} -k Synthetic"),
]
