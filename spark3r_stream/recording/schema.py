"""What a recording may say: types, ranges, closed lists. Everything from a file passes here before it is used.

A recording may come from a stranger, and its settings choose a network, threads and picture sizes. So each value has a
rule, and a value that breaks it is a RecordingError that names it. Rules are as wide as this program writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from spark3r_stream.config import ConfigError, RunConfig, parse_bytes
from spark3r_stream.errors import RecordingError
from spark3r_stream.packets import InputPacket
from spark3r_stream.plain_text import cleaned
from spark3r_stream.recording.records import MAX_WINDOW, Decisions
from spark3r_stream.rules import (
    MAX_JSON_CHARACTERS,
    MAX_TEXT,
    Rule,
    either,
    integer,
    number,
    one_of,
    optional,
    read_json,
    text,
    yes_or_no,
)

MAX_METADATA = 64  # entries
MAX_SIDE, MAX_PIXELS = 16384, 50_000_000  # of a picture in a recording
MAX_IDS = 65536  # frames that one step names
MAX_NS = 2**62  # either way; in Unix time the year 2116
MAX_COUNT = 2**40
MAX_THREADS = 256


def _is_size(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) <= 32 and 0 < parse_bytes(value) < MAX_COUNT
    except (ConfigError, ValueError, OverflowError):
        return False


def _choices(name: str) -> Rule:
    return one_of(*get_args(get_type_hints(RunConfig)[name]))


_DEVICE = text(r"auto|cpu|mps|(?:cuda|xpu)(?::\d{1,2})?", 16, "auto, cpu, cuda, cuda:N")
_THREE_NUMBERS = Rule(
    lambda value: isinstance(value, list) and len(value) == 3 and all(map(number(0, 1e10).holds, value)),
    "three numbers from 0",
)
_POINT = text(r"[0-9:,.]+", 64, "PICTURE:X,Y")
_TWO_POINTS = Rule(
    lambda value: (
        isinstance(value, list)
        and len(value) == 3
        and all(map(_POINT.holds, value[:2]))
        and number(0, 1e10).holds(value[2])
    ),
    "two points PICTURE:X,Y and a number from 0",
)
SETTINGS: dict[str, Rule] = {
    "source": text(),
    "model": text(r"[a-z0-9][a-z0-9._-]*", 64, "the name of a model"),
    "weights": optional(text()),
    "size": optional(integer(1, 4096)),
    "window": either(one_of("auto"), integer(1, MAX_WINDOW)),
    "memory": optional(Rule(_is_size, "a size such as 64MiB, below 1 TiB")),
    "map_memory": Rule(_is_size, "a size such as 64MiB, below 1 TiB"),
    "fill": _choices("fill"),
    "eviction": _choices("eviction"),
    "track": _choices("track"),
    "loops": _choices("loops"),
    "localise": yes_or_no(),
    "refine": _choices("refine"),
    "device": _DEVICE,
    "tag": optional(text(r"[A-Za-z0-9_.:+-]+", 64, "FAMILY:METRES[:ID]")),
    "tag_up": optional(one_of("wall", "floor")),
    "tag_origin": yes_or_no(),
    "camera_height": optional(number(0, 1e3)),
    "baseline": optional(_THREE_NUMBERS),
    "distance": optional(_TWO_POINTS),
    "gps_frame": _choices("gps_frame"),
    "gps_offset": text(r"[-+0-9.eE, ]+", 96, "three numbers"),
    "dtype": _choices("dtype"),
}
_LIST_OF_NUMBERS = Rule(
    lambda value: (
        isinstance(value, list) and len(value) in (0, 4, 5, 8, 12, 14) and all(map(number(-1e4, 1e4).holds, value))
    ),
    "4, 5, 8, 12 or 14 numbers from -10000 to 10000, or none",
)
CAMERA: dict[str, Rule] = {
    "fx": number(1e-3, 1e7),
    "fy": number(1e-3, 1e7),
    "cx": number(-1e7, 1e7),
    "cy": number(-1e7, 1e7),
    "width": integer(1, MAX_SIDE),
    "height": integer(1, MAX_SIDE),
    "distortion": _LIST_OF_NUMBERS,
    "fisheye": Rule(lambda value: isinstance(value, bool), "true or false"),
}
_UNIT_QUATERNION = Rule(lambda value: abs(sum(one * one for one in value) - 1) < 1e-6, "a unit quaternion")
_PLACE = Rule(lambda value: all(map(number(-1e9, 1e9).holds, value)), "three numbers from -10^9 to 10^9")
_VARIANCES = Rule(lambda value: all(map(number(0, 1e18).holds, value)), "two numbers from 0 to 10^18")
_SHA256 = text(r"[0-9a-f]{64}", 64, "64 hexadecimal digits")
_CODEC = text(r"[A-Za-z0-9_.-]*", 32, "the name of a codec")
_PIXEL_FORMAT = text(r"[a-z0-9_]*", 32, "the name of a pixel format")


def checked_metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata record as it is. Raises RecordingError if it has more, or longer, entries than any recording."""
    if len(metadata) > MAX_METADATA:
        raise RecordingError(f"{path} has {len(metadata)} entries of metadata; at most {MAX_METADATA} are expected")
    for key, value in metadata.items():
        if len(key) > MAX_TEXT or len(value) > MAX_JSON_CHARACTERS:
            raise RecordingError(f"{path}: its metadata has {cleaned(key, 64)!r} of {len(value)} characters; too long")
    return dict(metadata)


def checked_losses(words: str) -> dict[str, int]:
    """What the recorder counted, by topic; empty if it cannot be read."""
    try:
        losses = read_json(words)
    except ValueError:
        return {}
    known = isinstance(losses, dict) and len(losses) <= MAX_METADATA
    return {topic: count for topic, count in losses.items() if integer(1, MAX_COUNT).holds(count)} if known else {}


def checked_settings(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings of a recorded run, device and dtype as what "auto" became. Names we do not know are left out.

    Raises RecordingError where they cannot be read or one breaks its rule.
    """
    try:
        settings = read_json(metadata.get("settings", ""))
    except ValueError as error:
        raise RecordingError(
            f"{path} does not say how it was made; its settings are missing or damaged ({cleaned(error)})"
        ) from None
    if not isinstance(settings, dict):
        raise RecordingError(f"{path} does not say how it was made; its settings are missing or damaged")
    # recordings from before there was a choice
    settings = {"track": "off", "loops": "off", "refine": "off", "map_memory": "2GiB", "localise": False, **settings}
    settings = {"tag": None, "tag_up": None, "tag_origin": False, "camera_height": None, "baseline": None, **settings}
    settings = {"distance": None, "gps_frame": "wgs84", "gps_offset": "0,0,0", **settings}
    settings |= {name: metadata[name] for name in ("device", "dtype") if metadata.get(name)}
    for name, rule in SETTINGS.items():
        if name in settings:
            _require(path, f"--{name}", settings[name], rule)
    return {name: settings[name] for name in SETTINGS if name in settings}


def checked_camera(path: Path, words: str) -> dict[str, Any]:
    """The fields of the user's camera."""
    try:
        camera = read_json(words)
    except ValueError as error:
        raise RecordingError(f"{path}: the camera in it cannot be read: {cleaned(error)}") from None
    if isinstance(camera, dict):
        camera = {"fisheye": False, **camera}  # recordings from before there was a choice
    if not isinstance(camera, dict) or set(camera) != set(CAMERA):
        raise RecordingError(f"{path}: the camera in it cannot be read: expected {', '.join(CAMERA)}")
    for name, rule in CAMERA.items():
        _require(path, f"the camera's {name}", camera[name], rule)
    return camera


def checked_number(path: Path, metadata: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """A whole number among the metadata, None if it is missing. Raises RecordingError for anything else."""
    words = metadata.get(name, "")
    if not words:
        return None
    value = int(words) if words.isascii() and words.isdecimal() and len(words) < 20 else None
    if value is None or not low <= value <= high:
        raise RecordingError(f"{path}: {name} is {cleaned(words, 40)}; expected a whole number from {low} to {high}")
    return value


def checked_digest(path: Path, metadata: Mapping[str, str], name: str) -> str | None:
    """A sha256 in hexadecimal among the metadata, None if it is missing. Raises RecordingError for anything else."""
    words = metadata.get(name, "")
    if words and not _SHA256.holds(words):
        raise RecordingError(f"{path}: {name} is {cleaned(words, 40)}; expected {_SHA256.expected}")
    return words or None


def check_decisions(decisions: Decisions) -> None:
    """Raises ValueError naming what no run decides. What one window says; `check_order` looks at them together."""
    facts: list[tuple[str, Any, Rule]] = [
        ("window", decisions.window, integer(0, MAX_COUNT)),
        ("started_ns", decisions.started_ns, integer(-MAX_NS, MAX_NS)),
        ("finished_ns", decisions.finished_ns, integer(-MAX_NS, MAX_NS)),
        ("failure_reason", decisions.failure_reason, text(most=65536)),
        ("source_id", decisions.source_id, text()),
        ("adopted_frame_id", decisions.adopted_frame_id, optional(integer(0, MAX_COUNT))),
    ]
    for ids in (decisions.support_frame_ids, decisions.admitted_frame_ids, decisions.evicted_frame_ids):
        facts.append(("frames named", len(ids), integer(0, MAX_IDS)))
    for drop in decisions.drops:
        facts += [("cause of a loss", drop.cause, text(most=64)), ("lost frames", drop.count, integer(0, MAX_COUNT))]
    for frame in decisions.new_frames:
        facts += [
            ("frame_id", frame.frame_id, integer(0, MAX_COUNT)),
            ("picture", frame.picture, integer(0, MAX_COUNT)),
            ("captured_ns", frame.captured_ns, integer(-MAX_NS, MAX_NS)),
            ("pts_ns", frame.pts_ns, optional(integer(-MAX_NS, MAX_NS))),
        ]
        if frame.depth_ratio is not None:
            ratio = frame.depth_ratio
            facts += [
                ("keyframe of a depth image", ratio.keyframe_id, integer(0, MAX_COUNT)),
                ("ratio of a depth image", ratio.log_ratio, number(-50, 50)),
                ("deviation of a depth image", ratio.log_std, number(0, 1e3)),
            ]
        for fix in frame.fixes:
            facts += [
                ("time of a fix", fix.time_ns, integer(-MAX_NS, MAX_NS)),
                ("place of a fix", fix.position, _PLACE),
                ("deviation of a fix", fix.std_m, number(0, 1e6)),
            ]
        if frame.hint is not None:
            facts += [
                ("run of a hint", frame.hint.run, integer(0, MAX_COUNT)),
                ("turn of a hint", frame.hint.quat_xyzw, _UNIT_QUATERNION),
                ("place of a hint", frame.hint.position_xyz, optional(_PLACE)),
                ("variances of a hint", frame.hint.variances, optional(_VARIANCES)),
            ]
    _check(f"window {decisions.window}", facts)


def check_packet(index: int, packet: InputPacket) -> None:
    """Raises ValueError naming what no packet of a camera, file or stream says."""
    facts: list[tuple[str, Any, Rule]] = [
        ("codec", packet.codec, _CODEC),
        ("extradata", len(packet.extradata), integer(0, 1 << 20)),
        ("pts", packet.pts, optional(integer(-MAX_NS, MAX_NS))),
        ("dts", packet.dts, optional(integer(-MAX_NS, MAX_NS))),
        ("time base", packet.time_base.numerator, integer(1, 2**31 - 1)),
        ("time base", packet.time_base.denominator, integer(1, 2**31 - 1)),
        ("display matrix", len(packet.display_matrix or ()), Rule(lambda n: n in (0, 9), "9 numbers or none")),
    ]
    if (form := packet.stream) is not None:
        facts += [
            ("width", form.width, integer(0, MAX_SIDE)),
            ("height", form.height, integer(0, MAX_SIDE)),
            ("pixels", form.width * form.height, integer(0, MAX_PIXELS)),
            ("pixel format", form.pixel_format, _PIXEL_FORMAT),
            ("color range", form.color_range, integer(0, 2)),
            ("colorspace", form.colorspace, integer(0, 32)),
            ("pixel aspect", form.pixel_aspect_numerator, integer(0, 2**31 - 1)),
            ("pixel aspect", form.pixel_aspect_denominator, integer(0, 2**31 - 1)),
        ]
    _check(f"packet {index}", facts)


def _require(path: Path, name: str, value: Any, rule: Rule) -> None:
    if not rule.holds(value):
        raise RecordingError(f"{path}: {name} is {cleaned(repr(value), 64)}; expected {rule.expected}")


def _check(where: str, facts: list[tuple[str, Any, Rule]]) -> None:
    for name, value, rule in facts:
        if not rule.holds(value):
            raise ValueError(f"{where}: {name} is {cleaned(repr(value), 64)}; expected {rule.expected}")
