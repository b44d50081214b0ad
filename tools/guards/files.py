"""Guards against what is in files: recordings, maps, pictures, calibrations, plans of fleets."""

from __future__ import annotations

from tools.guards.guard import Guard

MCAP = "spark3r_stream/recording/mcap_file.py"
CHUNK_GUARDS = "tests/stream/recording/test_chunk_guard.py"
REDACT = "spark3r_stream/sources/redact.py"
REDACT_TESTS = "tests/stream/sources/test_redact.py"
OFFLINE = "spark3r_stream/cli/offline.py"
COMPARISON = "spark3r_stream/recording/comparison.py"
COMPARISON_TESTS = "tests/stream/recording/test_comparison.py"
REPROCESS_TRACKED = "tests/stream/recording/test_reprocess_tracking.py"
SCENE_TESTS = "tests/stream/map/test_scene_map.py"

READING = "spark3r_stream/map_file/reading.py"
TENSORS = "spark3r_stream/map_file/tensors.py"
HEADER = "spark3r_stream/map_file/header.py"
JOINS = "spark3r_stream/map_file/joins_file.py"
HOSTILE_MAPS = "tests/stream/map_file/test_hostile.py"
NAMED = f"{HOSTILE_MAPS} -k is_named"
DEPTH_MESSAGES = "tests/stream/sensors/test_depth_topic.py -k refused_before"
REPLICA_TESTS = "tests/stream/fleet/test_replica.py"

RIG_FILE = "spark3r_core/geometry/rig_file.py"
RIG_TESTS = "tests/core/geometry/test_rig.py"
CAMERA_FILES = "spark3r_core/geometry/camera_files.py"
CAMERA_TESTS = "tests/core/geometry/test_camera_files.py"
PLAN = "spark3r_stream/fleet/plan.py"
PLAN_TESTS = "tests/stream/fleet/test_plan.py"

GUARDS = [
    Guard(MCAP, "if frame_bytes not in (claimed, zstandard.CONTENTSIZE_UNKNOWN):", "if False:", CHUNK_GUARDS),
    Guard(MCAP, "max_length=claimed + 1", "max_length=-1", CHUNK_GUARDS),
    Guard(MCAP, "if count > limit:", "if False:", CHUNK_GUARDS),
    Guard(MCAP, "if self._records < 0:", "if False:", CHUNK_GUARDS),
    Guard(
        MCAP,
        'if length > _MAX_BYTES[opcode]:\n            raise ValueError(f"record',
        'if 0:\n            raise ValueError(f"record',
        CHUNK_GUARDS,
    ),
    Guard(MCAP, "if length > _MAX_BYTES[opcode]:\n                raise", "if 0:\n                raise", CHUNK_GUARDS),
    Guard("spark3r_stream/recording/records.py", "if len(payload) > MAX_DECISIONS_BYTES:", "if False:", CHUNK_GUARDS),
    Guard("spark3r_stream/recording/records.py", "if count > most:", "if False:", CHUNK_GUARDS),
    Guard("spark3r_stream/sources/images.py", "if max_pixels is not None and ", "if False and ", CHUNK_GUARDS),
    Guard(
        "spark3r_stream/sources/packet_decoder.py", 'context.options = {"max_pixels"', '_ = {"max_pixels"', CHUNK_GUARDS
    ),
    Guard(MCAP, "budget.take_bytes(claimed)", "pass", CHUNK_GUARDS),
    Guard("spark3r_stream/map/scene_map.py", "if len(self._clouds) >= MAX_SUBMAPS:", "if False:", SCENE_TESTS),
    Guard(
        "spark3r_stream/map/scene_map.py",
        "if known is None and len(self._map_from_submap) >= MAX_SUBMAPS:",
        "if False:",
        SCENE_TESTS,
    ),
    Guard(REDACT, 'is_rtmp = authority[:4].lower() == "rtmp"', "is_rtmp = False", REDACT_TESTS),
    Guard(REDACT, "piece, _reads_like_a_name(piece)", "piece, True", REDACT_TESTS),
    Guard(REDACT, "if digits > _DIGITS or ", "if ", REDACT_TESTS),
    Guard(OFFLINE, "check_table(save)", "pass", "tests/stream/cli/test_cli_offline.py -k probe"),
    Guard(
        OFFLINE,
        "write_whole(save, table.as_json().encode())",
        "table.save(save)",
        "tests/stream/cli/test_cli_offline.py -k probe",
    ),
    Guard(COMPARISON, ", wire.MAP_CORRECTION, wire.PATH_CORRECTION)", ", wire.PATH_CORRECTION)", COMPARISON_TESTS),
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
    Guard(
        "spark3r_stream/sources/recording.py",
        "if width * height > MAX_PIXELS:",
        "if False:",
        "tests/stream/sources/test_source_recording.py -k rendered",
    ),
    Guard(READING, "if not stat.S_ISREG(status.st_mode):", "if False:", f"{HOSTILE_MAPS} -k no_file"),
    Guard(READING, "if status.st_size > MAX_BYTES:", "if False:", f"{HOSTILE_MAPS} -k no_file"),
    Guard(READING, "check_picture(picture, header.picture_hw)", "pass", NAMED),
    Guard(TENSORS, "_check_tiling(list(spans.values()), len(body))", "pass", NAMED),
    Guard(TENSORS, 'or entry.get("shape") != sizes', "", NAMED),
    Guard(TENSORS, "or offsets[0] > offsets[1]", "", NAMED),
    Guard(TENSORS, "if unknown and not header.is_newer:", "if False:", f"{HOSTILE_MAPS} -k too_many"),
    Guard(HEADER, '_require("the number of ", counts,', '(lambda *_: None)("", counts,', NAMED),
    Guard(
        HEADER, '_require("of its metres ", fields, _METRES)', "pass", "tests/stream/map_file/test_metres.py -k lies"
    ),
    Guard("spark3r_stream/map_file/checks.py", "_check_links(header, arrays)\n    focals", "focals", NAMED),
    Guard("spark3r_stream/map_file/checks.py", "& (feature < each[slot])", "", NAMED),
    Guard("spark3r_stream/rules.py", "if depth > MAX_JSON_DEPTH:", "if False:", DEPTH_MESSAGES),
    Guard("spark3r_stream/rules.py", ", parse_constant=refuse)", ")", NAMED),
    Guard(JOINS, "if path.stat().st_size > MAX_FILE_BYTES:", "if False:", REPLICA_TESTS),
    Guard(JOINS, "if pair[0] == pair[1]:", "if False:", REPLICA_TESTS),
    Guard(JOINS, " OverflowError, RecursionError,", "", REPLICA_TESTS),
    Guard(RIG_FILE, "if path.stat().st_size > MAX_FILE_BYTES:", "if False:", RIG_TESTS),
    Guard(RIG_FILE, ", RecursionError)", ")", RIG_TESTS),
    Guard(RIG_FILE, " or np.abs(numbers).max() > 1e6", "", RIG_TESTS),
    Guard(RIG_FILE, "se3.require_se3(", "(lambda pose, _: pose)(", RIG_TESTS),
    Guard(CAMERA_FILES, "if file.stat().st_size > MAX_FILE_BYTES:", "if False:", CAMERA_TESTS),
    Guard(CAMERA_FILES, ", RecursionError)", ")", CAMERA_TESTS),
    Guard(PLAN, "if path.stat().st_size > MAX_FILE_BYTES:", "if False:", PLAN_TESTS),
    Guard(RIG_FILE, "if not is_light(content):", "if False:", RIG_TESTS),
    Guard(CAMERA_FILES, "if not is_light(documents[0]):", "if False:", CAMERA_TESTS),
    Guard(PLAN, "if not is_light(content):", "if False:", PLAN_TESTS),
    Guard("spark3r_core/geometry/yaml_weight.py", "weight += len(one)", "pass", PLAN_TESTS),
    Guard(PLAN, "if twice is not None:", "if False:", PLAN_TESTS),
    Guard(PLAN, "if name not in (*known, *more):", "if False:", PLAN_TESTS),
    Guard(PLAN, "if len(cameras) > MOST_CAMERAS:", "if False:", PLAN_TESTS),
    Guard(PLAN, "<= count <= MOST_MAPPERS", "<= count", PLAN_TESTS),
    Guard(PLAN, "if place and _PLACE.fullmatch(place) is None:", "if False:", PLAN_TESTS),
    Guard(PLAN, ", RecursionError)", ")", PLAN_TESTS),
]
