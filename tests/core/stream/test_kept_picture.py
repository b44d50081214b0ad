"""A keyframe's picture as a JPEG: its own size, near the picture, within its bytes, the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.stream.kept_picture import decoded, encoded
from tests.core.stream import orbit


def test_a_picture_comes_back_nearly_as_it_was() -> None:
    picture = orbit.picture(8)
    data = encoded(picture)
    back = decoded(data)
    assert back.shape == picture.shape
    assert np.abs(back.astype(float) - picture).mean() < 4
    assert encoded(picture) == data
    red = np.zeros((16, 24, 3), np.uint8)
    red[..., 0] = 200
    assert decoded(encoded(red))[..., 0].mean() > 150, "red stays red"


def test_bytes_are_bounded() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    whole, small = encoded(noise), encoded(noise, 30_000)
    assert 0 < len(small) <= 30_000 < len(whole)
    assert decoded(small).shape == noise.shape
    assert encoded(noise, 100) == b""


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0broken"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no JPEG"):
        decoded(data)
