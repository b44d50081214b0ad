"""A chunk that claims more than it may hold is refused before it is unpacked."""

from __future__ import annotations

import pytest
import zstandard
from mcap.records import Chunk

from spark3r_stream.recording.reader import _check_chunk


def test_a_zstd_frame_that_claims_a_terabyte_is_refused() -> None:
    packer = zstandard.ZstdCompressor().compressobj(size=1 << 40)
    data = packer.compress(b"a") + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    assert zstandard.get_frame_parameters(data).content_size == 1 << 40
    with pytest.raises(ValueError, match="at most"):
        _check_chunk(Chunk("zstd", data, 0, 0, 0, 1))
