"""Imports point one way: tools → spark3r_stream → spark3r_core; the subscriber side needs neither torch nor av."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each part of the core may import from the core; geometry, tokens and memory know nothing of each other.
CORE_MAY_IMPORT = {
    "geometry": {"errors"},
    "photometric": {"errors", "geometry"},
    "features": {"errors", "geometry"},
    "bundle": {"errors", "geometry"},
    "depth": {"errors", "geometry", "photometric.depth_grid"},
    "graph": {"errors", "geometry"},
    "places": {"errors", "geometry", "features", "bundle"},
    "tokens": {"errors", "models.interface"},
    "attention": {"errors", "timing", "tokens", "models.interface", "attention"},
    "memory": {"errors", "models.interface"},
    "metric": {"errors", "geometry"},
    "calibration": {"errors", "geometry", "bundle"},
    "synthetic": {"errors", "geometry", "metric.tags"},
}
# The rooms of the stream package, in the order of the data; each may import what stands here, and the core.
LEAVES = {
    "frame", "clock", "stats", "errors", "config", "packets", "files", "plain_text", "extras", "rules", "threads",
    "camera_name", "thinned",
}  # fmt: skip
STREAM_MAY_IMPORT: dict[str, set[str]] = {
    "wire": {"errors", "proto"},
    "pubsub": LEAVES | {"wire", "proto"},
    "recording": LEAVES | {"wire", "pubsub", "proto"},
    "sources": LEAVES | {"recording"},
    "sensors": LEAVES | {"pubsub"},
    "map": LEAVES | {"wire"},
    "metrics": LEAVES | {"wire"},
    "map_file": LEAVES,
    "outputs": LEAVES | {"wire", "map"},
    "viewer": LEAVES | {"wire", "pubsub", "map", "outputs"},
    "ros2": LEAVES | {"wire", "pubsub", "map"},
    "engine": LEAVES | {"wire", "pubsub", "recording", "sources", "map", "map_file", "outputs"},
    "export": LEAVES | {"wire", "recording", "sources", "map", "map_file", "outputs", "ros2", "engine"},
    "evaluation": LEAVES | {"wire", "recording", "sources", "map"},
    "testing": {"evaluation"},
    "running": LEAVES
    | {"wire", "pubsub", "recording", "sources", "sensors", "map", "map_file", "metrics", "outputs", "engine"},
    "fleet": LEAVES | {"wire", "pubsub", "sources", "map_file", "metrics", "engine", "running"},
    "api": LEAVES | {"wire", "sources", "map", "outputs", "engine", "running"},
    "cli": LEAVES
    | {"wire", "pubsub", "recording", "sources", "map", "map_file", "outputs", "viewer", "ros2", "engine", "export"}
    | {"evaluation", "running", "fleet"},
}
SUBSCRIBER_SIDE = [
    "spark3r_stream",
    "spark3r_stream.wire.messages",
    "spark3r_stream.wire.envelope",
    "spark3r_stream.wire.decode",
    "spark3r_stream.pubsub.subscriber",
    "spark3r_stream.recording.writer",
    "spark3r_stream.recording.replay",
    "spark3r_stream.map.scene_map",
    "spark3r_stream.viewer.web_viewer",
    "spark3r_stream.viewer.web_server",
    "spark3r_stream.cli.main",
    "spark3r_stream.cli.echo",
    "spark3r_stream.cli.view",
    "spark3r_stream.cli.ros2",
]


def imports_of(path: Path) -> set[str]:
    """Modules imported anywhere in a file, those under TYPE_CHECKING left out."""
    tree = ast.parse(path.read_text())
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("spark3r_core", ("spark3r_stream", "tools", "tests", "zmq", "av", "evo")),
        ("spark3r_stream", ("tools", "tests", "evo")),
    ],
)
def test_packages_import_only_downwards(package: str, forbidden: tuple[str, ...]) -> None:
    for path in (ROOT / package).rglob("*.py"):
        bad = [name for name in imports_of(path) if name.split(".")[0] in forbidden]
        assert not bad, f"{path.relative_to(ROOT)} imports {bad}"


@pytest.mark.parametrize("part", sorted(CORE_MAY_IMPORT))
def test_parts_of_the_core_know_only_what_they_should(part: str) -> None:
    allowed = CORE_MAY_IMPORT[part] | {part}
    for path in (ROOT / "spark3r_core" / part).rglob("*.py"):
        for name in imports_of(path):
            if not name.startswith("spark3r_core."):
                continue
            inside = name.removeprefix("spark3r_core.")
            assert any(inside == a or inside.startswith(f"{a}.") for a in allowed) or any(
                a.startswith(f"{inside}.") for a in allowed
            ), f"{path.relative_to(ROOT)} imports {name}; {part} may import {sorted(allowed)}"


@pytest.mark.parametrize("room", sorted(STREAM_MAY_IMPORT))
def test_rooms_of_the_stream_package_import_what_the_table_says(room: str) -> None:
    allowed = STREAM_MAY_IMPORT[room] | {room}
    for path in (ROOT / "spark3r_stream" / room).rglob("*.py"):
        rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("spark3r_stream.")}
        assert rooms <= allowed, (
            f"{path.relative_to(ROOT)} imports {sorted(rooms - allowed)}; allowed {sorted(allowed)}"
        )


def test_the_table_of_rooms_has_no_cycle_and_no_gap() -> None:
    seen: set[str] = set()
    left = dict(STREAM_MAY_IMPORT)
    while left:
        free = [room for room, others in left.items() if not (others & set(left)) - {room}]
        assert free, f"rooms import each other in a circle: {sorted(left)}"
        seen |= set(free)
        left = {room: others for room, others in left.items() if room not in free}
    folders = {path.parent.name for path in (ROOT / "spark3r_stream").glob("*/__init__.py")} - {"proto"}
    assert folders == seen
    files = {path.stem for path in (ROOT / "spark3r_stream").glob("*.py")} - {"__init__", "__main__"}
    assert files == LEAVES


@pytest.mark.parametrize("module", SUBSCRIBER_SIDE)
def test_the_subscriber_side_imports_no_torch(module: str) -> None:
    code = (
        f"import {module}, sys; "
        "print(*[n for n in ('torch', 'av', 'cv2', 'viser', 'PIL', 'safetensors') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_a_subscriber_is_what_the_package_offers_without_torch() -> None:
    code = "from spark3r_stream import Subscriber; import sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("part", ["outlet", "site_map", "camera_actor"])
def test_parts_of_a_fleet_without_a_model_begin_without_torch(part: str) -> None:
    """It takes most of the time until a process that died is back, and most of its memory."""
    pytest.importorskip("ray")
    code = f"import spark3r_stream.fleet.{part}, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "False"
