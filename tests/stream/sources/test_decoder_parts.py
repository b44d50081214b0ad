"""What the decoding process shares with ours: slots for images, and messages in a pipe."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark3r_stream.sources import pipe
from spark3r_stream.sources.decoder_child import SLOTS, SlotBook
from spark3r_stream.sources.ring import FrameRing, remove_rings_of


def test_a_ring_carries_images_between_two_maps_and_leaves_no_file():
    writer = FrameRing.create(2, 4 * 5 * 3)
    reader = FrameRing.attach(writer.path, 2, 60)
    reader.unlink()
    assert not writer.path.exists()
    images = [np.random.default_rng(i).integers(0, 255, (4, 5, 3), dtype=np.uint8) for i in range(2)]
    for slot, image in enumerate(images):
        writer.write(slot, image)
    for slot, image in enumerate(images):
        np.testing.assert_array_equal(reader.read(slot, 4, 5), image)
    for slot, height, width in ((2, 4, 5), (-1, 4, 5), (0, 5, 5), (0, 0, 5), (0, -4, -5)):
        with pytest.raises(ValueError, match="cannot hold"):
            reader.read(slot, height, width)
    reader.close()
    writer.close()


def test_a_ring_smaller_than_announced_is_refused():
    ring = FrameRing.create(1, 100)
    with pytest.raises(OSError, match="smaller than 2 slots"):
        FrameRing.attach(ring.path, 2, 100)
    remove_rings_of(os.getpid())
    assert not ring.path.exists()
    ring.close()


def test_a_full_shared_memory_is_left_for_the_temporary_folder(monkeypatch, tmp_path):
    shared, spare = tmp_path / "shm", tmp_path / "tmp"
    shared.mkdir()
    spare.mkdir()
    monkeypatch.setattr("spark3r_stream.sources.ring._folders", lambda: [str(shared), str(spare)])
    reserve = os.posix_fallocate

    def full_at_first(descriptor: int, offset: int, size: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent == shared:
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", full_at_first)
    ring = FrameRing.create(2, 100)
    assert ring.path.parent == spare
    assert list(shared.iterdir()) == []
    ring.close()


def test_slots_of_an_old_ring_mean_nothing():
    book = SlotBook()
    first = book.new_ring()
    taken = [book.take(wait=False) for _ in range(SLOTS)]
    assert taken == list(range(SLOTS))
    assert book.take(wait=False) is None
    book.give_back(first, 2)
    book.give_back(first, 2)
    book.give_back(first, SLOTS)
    assert [book.take(wait=False), book.take(wait=False)] == [2, None]
    second = book.new_ring()
    assert [book.take(wait=False) for _ in range(SLOTS)] == list(range(SLOTS))
    book.give_back(first, 1)
    assert book.take(wait=False) is None
    book.give_back(second, 1)
    assert book.take(wait=False) == 1


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.none() | st.text(max_size=5)), st.binary(max_size=200))
def test_pipe_messages_round_trip_and_end_at_any_cut(header, payload):
    stream = io.BytesIO()
    pipe.send(stream, header, payload)
    whole = stream.getvalue()
    assert pipe.receive(io.BytesIO(whole)) == (header, payload)
    for cut in range(0, len(whole), 7):
        assert pipe.receive(io.BytesIO(whole[:cut])) is None


def test_absurd_lengths_are_not_allocated():
    assert pipe.receive(io.BytesIO(b"\xff" * 64)) is None


def test_an_orphaned_child_ends():
    child = subprocess.Popen(
        [sys.executable, "-m", "spark3r_stream.sources.decoder_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdin is not None
    assert child.stdout is not None
    config = {"target": "udp://127.0.0.1:9", "format": None, "options": {}, "single_thread": False}
    config |= {"open_timeout_s": 3600.0, "read_timeout_s": 3600.0, "lossless": False, "packets": False}
    pipe.send(child.stdin, config)
    assert pipe.receive(child.stdout) == ({"type": "ready"}, b"")  # now it waits for a stream that never comes
    child.stdin.close()
    assert child.wait(20) == 0
    child.stdout.close()
