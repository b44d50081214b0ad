"""Guards against what sensors publish, and what a running fleet is asked."""

from __future__ import annotations

from tools.guards.guard import Guard

DEPTH_MESSAGE = "spark3r_stream/sensors/depth_message.py"
DEPTH_TOPIC = "spark3r_stream/sensors/depth_topic.py"
FEED = "spark3r_stream/sensors/feed.py"
LINES = "spark3r_stream/sensors/lines.py"
DEPTH_MESSAGES = "tests/stream/sensors/test_depth_topic.py -k refused_before"
DEPTH_BOUNDS = "tests/stream/sensors/test_depth_bounds.py"
FEED_BOUNDS = "tests/stream/sensors/test_feed_bounds.py"
LINES_TESTS = "tests/stream/sensors/test_lines.py"
ODOMETRY_TOPIC = "tests/stream/sensors/test_odometry_sensor.py -k topic"
GPS_TESTS = "tests/stream/sensors/test_gps_sensor.py"

FLEET_DESK = "spark3r_stream/fleet/desk.py"
FLEET_DESK_TESTS = "tests/stream/fleet/test_desk.py"
REPLICA_TESTS = "tests/stream/fleet/test_replica.py"
OWN_RAY = "tests/stream/fleet/test_own_ray.py -m slow"

GUARDS = [
    Guard(DEPTH_MESSAGE, "if len(header) > MAX_HEADER_BYTES:", "if False:", DEPTH_MESSAGES),
    Guard(DEPTH_MESSAGE, "if width * height > MAX_PIXELS:", "if False:", DEPTH_MESSAGES),
    Guard(DEPTH_MESSAGE, "if len(png) > MAX_PNG_BYTES:", "if False:", DEPTH_MESSAGES),
    Guard(DEPTH_MESSAGE, "if found != (width, height, _BITS, _GREY):", "if False:", DEPTH_MESSAGES),
    Guard(DEPTH_TOPIC, "self._waiting_bytes > MAX_WAITING_BYTES or ", "", DEPTH_BOUNDS),
    Guard(DEPTH_TOPIC, " or len(self._waiting) > WAITING_MESSAGES", "", DEPTH_BOUNDS),
    Guard(DEPTH_TOPIC, " and time.monotonic() < until_s", "", DEPTH_BOUNDS),
    Guard(DEPTH_TOPIC, "deque(maxlen=READY)", "deque()", DEPTH_BOUNDS),
    Guard(DEPTH_TOPIC, "deque(maxlen=NEW_FRAMES)", "deque()", DEPTH_BOUNDS),
    Guard(
        DEPTH_TOPIC,
        "if not has_shape_of(self._size, message.width, message.height):",
        "if False:",
        "tests/stream/sensors/test_depth_topic.py -k hostile",
    ),
    Guard(FEED, "self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)", "pass", FEED_BOUNDS),
    Guard(FEED, "for _ in range(MOST_AT_ONCE):", "while True:", FEED_BOUNDS),
    Guard(FEED, "rows.times_ns[-1] - KEPT_NS", "0", "tests/stream/sensors/test_gyro_sensor.py -k topic"),
    Guard(LINES, "if path.stat().st_size > MAX_FILE_BYTES:", "if False:", LINES_TESTS),
    Guard(LINES, "if abs(time_ns) >= MOST_TIME_NS:", "if False:", LINES_TESTS),
    Guard(LINES, "_check_sizes(values[:columns])", "pass", LINES_TESTS),
    Guard(LINES, "            _check_sizes(numbers)", "            pass", ODOMETRY_TOPIC),
    Guard(LINES, "except OverflowError:  # of", "except MemoryError:  # of", ODOMETRY_TOPIC),
    Guard(
        "spark3r_stream/sensors/odometry.py",
        "(each > MOST_VARIANCE).any()",
        "False",
        "tests/stream/sensors/test_odometry_sensor.py -k no_deviation",
    ),
    Guard("spark3r_stream/sensors/gps.py", "if len(places) > MOST_AT_ONCE:", "if False:", GPS_TESTS),
    Guard("spark3r_stream/sensors/gps.py", "if fault(values, self._frame):", "if False:", GPS_TESTS),
    Guard(FLEET_DESK, "file.readline(MAX_LINE_BYTES)", "file.readline()", FLEET_DESK_TESTS),
    Guard(FLEET_DESK, "connection.settimeout(_REQUEST_S)", "pass", FLEET_DESK_TESTS),
    Guard(FLEET_DESK, "except (ValueError, RecursionError):", "except ValueError:", FLEET_DESK_TESTS),
    Guard(FLEET_DESK, "before = os.umask(0o077)", "before = os.umask(0o022)", FLEET_DESK_TESTS),
    Guard(FLEET_DESK, "stat.S_IMODE(found.st_mode) & 0o022", "False", FLEET_DESK_TESTS),
    Guard(
        "spark3r_stream/fleet/log_lines.py",
        "deque(maxlen=MOST_LINES)",
        "deque()",
        "tests/stream/fleet/test_log_lines.py",
    ),
    Guard("spark3r_stream/fleet/replica.py", "if change.base not in (0, self.version):", "if False:", REPLICA_TESTS),
    Guard("spark3r_stream/fleet/cluster.py", "        _stay_on_this_machine()", "        pass", OWN_RAY),
    Guard("spark3r_stream/fleet/outlet_link.py", "if len(self._under_way) >= MOST_UNDER_WAY:", "if False:", OWN_RAY),
]
