"""The file of a fleet: what it may hold, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark3r_stream.config import ConfigError
from spark3r_stream.fleet.plan import FleetPlan, plan_of, read_plan

FILE = """
publish: tcp://127.0.0.1:5555
maps: maps
settings:
  loops: on
  map-memory: 64MiB
  camera: calibration/{name}.yaml
cameras:
  gate: rtsp://gate.local/stream
  yard:
    source: rtsp://yard.local/stream
    place: yard-pc
    cpus: 1
    camera: yard.yaml
    live: true
    fps: 10
mappers: {count: 2, cpus: 0.5, gpus: 0.25}
ray: {address: auto}
"""


def read(folder: Path, text: str) -> FleetPlan:
    (folder / "site.yaml").write_text(text)
    return read_plan(folder / "site.yaml")


def test_a_file_with_everything(tmp_path: Path) -> None:
    plan = read(tmp_path, FILE)
    gate, yard = plan.cameras
    assert (plan.name, plan.maps, plan.ray.address) == ("site", Path("maps"), "auto")
    assert (plan.mappers.count, plan.mappers.cpus, plan.mappers.gpus) == (2, 0.5, 0.25)
    assert (gate.name, gate.config.source, gate.place) == ("gate", "rtsp://gate.local/stream", "")
    assert gate.config.camera == Path("calibration/gate.yaml")
    assert (gate.config.loops, gate.config.map_memory) == ("on", "64MiB")
    assert (yard.place, yard.cpus, yard.config.camera) == ("yard-pc", 1.0, Path("yard.yaml"))
    assert (yard.config.live, yard.config.fps) == (True, 10.0)
    assert yard.config.publish == "tcp://127.0.0.1:5555"
    added = plan.added("roof", "webcam:0")
    assert (added.config.source, added.config.camera) == ("webcam:0", Path("calibration/roof.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("publish: tcp", "publsh: tcp", "has no 'publsh'; did you mean publish"),
        ("publish: tcp://127.0.0.1:5555\n", "", "publish is missing"),
        ("maps: maps", "maps: 3", "maps is 3; expected a text"),
        ("maps: maps", "name: my site", "name is 'my site'; expected up to 32"),
        ("  loops: on", "  loops: maybe", "settings: loops is 'maybe'; expected on or off"),
        ("  loops: on", "  track: off", "settings has no 'track'"),
        ("  loops: on", "  out: results", "settings has no 'out'"),
        ("map-memory: 64MiB", "map-memory: 1MiB", "--map-memory is 1MiB"),
        ("map-memory: 64MiB", "size: large", "settings: size is 'large'; expected a whole number"),
        ("  gate: rtsp://gate.local/stream", "  gate:", "cameras: gate has no source"),
        ("  gate: rtsp://gate.local/stream", "  the gate: x", "'the gate' is no name of a camera"),
        ("  gate: rtsp://gate.local/stream", "  yard: x", "'yard' stands twice"),
        ("  gate: rtsp://gate.local/stream", "  ? [gate]\n  : x", "is no YAML: .* unhashable key"),
        ("    place: yard-pc", "    place: 192.168.1.1", "expected the name of a resource"),
        ("    cpus: 1\n", "    cpus: -1\n", "cameras: yard: cpus is -1; expected 0 to 64"),
        ("    cpus: 1\n", "    cpus: .nan\n", "expected 0 to 64"),
        ("    cpus: 1\n", "    cpus: 1.5\n", "Ray counts fractions of one"),
        ("    fps: 10", "    fps: 0", "--fps is 0"),
        ("    live: true", "    live: 1", "cameras: yard: live is 1; expected true or false"),
        ("count: 2", "count: 0", "mappers: count is 0; expected 1 to"),
        ("count: 2", "count: 257", "mappers: count is 257; expected 1 to"),
        ("count: 2", "count: true", "mappers: count is True; expected a whole number"),
        ("address: auto", "address: auto, cpus: 2", "ray: cpus is of a Ray of its own"),
        ("ray: {address: auto}", "ray: [auto]", "ray is \\['auto'\\]; expected a table"),
        ("mappers: {", "mappers: {{", "is no YAML"),
        ("mappers: {", "mappers: " + "[" * 1000, "is no YAML"),
    ],
    ids=lambda words: words[:40],
)
def test_what_is_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert FILE.count(old) == 1
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, FILE.replace(old, new))


@pytest.mark.parametrize("content", [None, 3, "cameras", [], {"publish": "tcp://127.0.0.1:1"}])
def test_what_is_no_plan_at_all(content: object) -> None:
    with pytest.raises(ConfigError):
        plan_of(content, "site")


def test_too_many_cameras_and_too_long_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="33 cameras; one endpoint has at most 32"):
        plan_of({"publish": "tcp://127.0.0.1:1", "cameras": {f"c{n}": "webcam:0" for n in range(33)}}, "site")
    with pytest.raises(ConfigError, match="expected a short file"):
        read(tmp_path, FILE + "#" * (256 << 10))


def test_a_file_that_says_more_than_it_holds(tmp_path: Path) -> None:
    anchored = "name: &ha ha\npublish: tcp://127.0.0.1:1\ncameras:\n  a: &one {source: webcam:0}\n  b: *one\n"
    assert len(read(tmp_path, anchored).cameras) == 2
    laughter = ", ".join(f"&a{n} [{', '.join(9 * [f'*a{n - 1}' if n else 'ha'])}]" for n in range(7))  # 9^7 words
    for said in (f"maps: [{laughter}]", "maps: &all [*all]", f"maps: [&a {'x' * 10_000}, {500 * '*a, '}]"):
        with pytest.raises(ConfigError, match="repeats itself without end"):
            read(tmp_path, anchored + said)
