"""The floor plan of a room that is known, read by map_server's rules."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.clock import SystemClock
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.wire.encode import encode_keyframe, encode_map_corrections
from spark3r_stream.wire.messages import MapCorrection
from tests.helpers_wire import make_keyframe, make_sealer

ROOT = Path(__file__).parents[2]
HALF = np.array([2.05, 3.05])  # of the room, right and ahead of the first camera: its walls are in the middle of cells
HEIGHT = 1.2  # of the camera over the floor
BOX = np.array([0.7, 1.6])  # centre of a box on the floor, right and ahead
BOX_HALF = 0.25


def room() -> np.ndarray:
    """(n, 3) of walls, floor and a box, in the first camera's axes (x right, y down, z ahead)."""
    rng = np.random.default_rng(0)
    along = rng.uniform(-1, 1, (4000, 2))
    height = HEIGHT - rng.uniform(0, 2.4, 4000)
    walls = [np.stack([side * np.full(4000, HALF[0]), height, along[:, 0] * HALF[1]], 1) for side in (-1, 1)]
    walls += [np.stack([along[:, 1] * HALF[0], height, side * np.full(4000, HALF[1])], 1) for side in (-1, 1)]
    floor = np.stack([along[:, 0] * HALF[0], np.full(4000, HEIGHT), along[:, 1] * HALF[1]], 1)
    box = np.stack(
        [BOX[0] + BOX_HALF * along[:, 0], HEIGHT - rng.uniform(0, 0.6, 4000), BOX[1] + BOX_HALF * along[:, 1]], 1
    )
    return np.concatenate([*walls, floor, box])


def record(path: Path) -> None:
    """Four keyframes that look ahead, right, back and left, as a stream publishes them."""
    sealer, points = make_sealer(), room()
    with Recorder(path, {}, SystemClock()) as recorder:
        for index in range(4):
            turn = se3.exp(np.array([0, 0, 0, 0, index * np.pi / 2, 0.0]))
            seen = se3.transform_points(se3.invert(turn), points)
            seen = seen[(seen[:, 2] > 0.1) & (np.abs(seen[:, 0]) < 1.5 * seen[:, 2])].astype(np.float32)
            sure = np.ones(len(seen), np.float32)
            keyframe = replace(
                make_keyframe(index), submap=index, points=seen, colours=np.full((len(seen), 4), 255, np.uint8),
                point_confidence=sure,
            )  # fmt: skip
            place = MapCorrection(index, 1, Sim3(1.0, turn[:3, :3], np.zeros(3)))
            recorder.send(sealer.seal([*encode_map_corrections([place], index), *encode_keyframe(keyframe)]))


class ServedMap:
    """A map as Nav2's map_server loads it (mode trinary): 100 occupied, 0 free, -1 unknown; row 0 at the bottom."""

    def __init__(self, yaml: Path) -> None:
        meta = dict(re.findall(r"^(\w+): (.+)$", yaml.read_text(), re.MULTILINE))
        head = re.match(rb"P5\n(\d+) (\d+)\n255\n", (data := (yaml.parent / meta["image"]).read_bytes()))
        assert head is not None
        width, height = int(head[1]), int(head[2])
        pixels = np.frombuffer(data[head.end() :], np.uint8).reshape(height, width)[::-1]
        assert (meta["mode"], meta["negate"]) == ("trinary", "0")
        darkness = (255 - pixels.astype(float)) / 255
        self.cells = np.full(pixels.shape, -1)
        self.cells[darkness > float(meta["occupied_thresh"])] = 100
        self.cells[darkness < float(meta["free_thresh"])] = 0
        self.resolution = float(meta["resolution"])
        self.origin = np.array([float(value) for value in meta["origin"].strip("[]").split(",")])[:2]

    def at(self, x: float, y: float) -> int:
        """x ahead of the first camera, y to its left."""
        column, row = ((np.array([x, y]) - self.origin) / self.resolution).astype(int)
        return int(self.cells[row, column])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedMap:
    folder = tmp_path_factory.mktemp("grid")
    record(folder / "room.mcap")
    script, yaml = ROOT / "examples" / "occupancy_grid.py", folder / "floor.yaml"
    command = [sys.executable, script, folder / "room.mcap", folder / "floor", "--resolution", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "% occupied" in done.stdout
    return ServedMap(yaml)


def test_walls_and_the_box_are_in_the_way_and_the_floor_is_not(served: ServedMap) -> None:
    ahead, left = HALF[1], HALF[0]
    assert served.at(BOX[1], -BOX[0]) == 100, "a box ahead, to the right"
    assert served.at(BOX[1], BOX[0]) == 0, "nothing to the left"
    for x in np.arange(-2.4, 2.5, 0.4):
        assert (served.at(x, left), served.at(x, -left)) == (100, 100)
    free = [served.at(x, y) for x in np.arange(-2.5, 2.6, 0.5) for y in (-1.5, -0.05, 1.5)]
    assert np.mean(np.array(free) == 0) > 0.9
    assert served.at(ahead, 0.05) == 100


def test_a_file_without_points_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "none.mcap").write_bytes(b"letters")
    script = ROOT / "examples" / "occupancy_grid.py"
    command = [sys.executable, script, tmp_path / "none.mcap", tmp_path / "floor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
