"""Distances between views are kept pair by pair; they must equal what all pairs at once would give."""

import numpy as np
import pytest
import torch

from spark3r_core.memory.budget import LayerBudget
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.eviction import Evictor, ViewDistances
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.models.interface import CrossLayer


def test_distances_kept_pair_by_pair_equal_all_at_once() -> None:
    rng = np.random.default_rng(0)
    views, keys = ViewDistances(), {}
    for step in range(60):
        frame = int(rng.integers(0, 20))  # new ones and ones seen again
        keys[frame] = rng.normal(size=16).astype(np.float32)
        views.put(frame, keys[frame])
        if step % 10 == 9:
            keys = {f: key for f, key in keys.items() if rng.random() < 0.7}
            views.keep(keys)
        frames = sorted(keys)
        unit = np.stack([keys[f].astype(np.float64) for f in frames])
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        assert np.allclose(views.among(frames), 1 - unit @ unit.T, atol=1e-12)
        assert sorted(views.frames) == frames


class CountedMemory(KVMemory):
    looked_at = 0

    def page(self, layer: int, frame: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.looked_at += 1
        return super().page(layer, frame)


@pytest.mark.parametrize("eviction", ["time", "views"])
def test_only_the_pages_of_the_window_are_looked_at(eviction: str) -> None:
    layer = CrossLayer("global.0", "global", 5, 1, 2, 4)
    memory = CountedMemory([layer, layer], [LayerBudget(6, 8)] * 2)
    evictor = Evictor(MemoryConfig(eviction=eviction), memory)  # type: ignore[arg-type]
    for first in range(0, 40, 2):
        window = [first, first + 1]
        memory.begin(window)
        for index in range(2):
            memory.write(index, *(torch.randn(1, 2, 10, 4) for _ in range(2)))
        evictor.observe(window)
        memory.commit(window, evictor.choose)
        evictor.forget_all_but(memory.all_frames())
    assert memory.looked_at == (40 if eviction == "views" else 0)
    assert len(memory.frames(0)) == 6


def test_special_tokens_and_other_layers_have_no_say() -> None:
    """The first global layer's patches decide; a camera token that differs makes no view of its own."""
    layers = [CrossLayer("register.0", "register", 2, 2, 1, 4), CrossLayer("global.0", "global", 3, 1, 1, 4)]
    memory = KVMemory(layers, [LayerBudget(3, 7)] * 2)
    evictor = Evictor(MemoryConfig(eviction="views", recent=0), memory)
    patches = torch.ones(4, 2, 4)
    patches[1, :, :2] = -1  # frame 1 shows something else
    keys = torch.cat([torch.randn(4, 1, 4), patches], 1).reshape(1, 1, 12, 4)
    memory.begin([0, 1, 2, 3])
    memory.write(0, *(torch.randn(1, 1, 8, 4) for _ in range(2)))
    memory.write(1, keys, keys)
    evictor.observe([0, 1, 2, 3])
    memory.commit([0, 1, 2, 3], evictor.choose)
    assert memory.frames(0) == memory.frames(1) == [0, 1, 2]
