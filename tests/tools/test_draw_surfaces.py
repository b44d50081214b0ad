"""A mesh as a picture."""

import numpy as np
import pytest

from spark3r_stream.map.surface import Mesh
from spark3r_stream.viewer.scene_geometry import Viewpoint
from tools.draw_surfaces import BACKGROUND, SIZE_HW, drawn


@pytest.mark.mesh
def test_what_is_above_is_drawn_above_in_its_colour_or_in_none() -> None:
    """A red wall above and a blue one below, seen along z with y down, as cameras have it."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    vertices = np.concatenate([square + [0, -1.2, 3], square + [0, 1.2, 3]]).astype(np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    colours = np.repeat(np.array([[200, 0, 0], [0, 0, 200]], np.uint8), 4, 0)
    mesh = Mesh(vertices, triangles, colours, 0.1)
    view = Viewpoint(np.zeros(3), np.array([0.0, 0, 1]), np.array([0.0, -1, 0]))
    picture = drawn(mesh, view, clay=False).astype(int)
    assert picture.shape == (*SIZE_HW, 3)
    upper, lower = picture[100, 320], picture[380, 320]
    assert upper[2] > 150 > 20 > upper[0], "BGR"
    assert lower[0] > 150 > 20 > lower[2]
    assert (picture[240, 5] == BACKGROUND).all()
    clay = drawn(mesh, view, clay=True).astype(int)
    assert (np.ptp(clay[100, 320]), np.ptp(clay[380, 320])) == (0, 0)
    assert clay[100, 320, 0] > 150
