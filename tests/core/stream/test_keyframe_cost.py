"""What a keyframe costs is counted as the real network, memory and step have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from spark3r_core.errors import CheckpointError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.registry import load_model
from spark3r_core.stream.keyframe_cost import UNCOUNTED, WINDOW, _HighWater, keyframe_cost, operations_per_second
from spark3r_core.stream.session import StreamSession


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_that_of_a_real_step(dtype: torch.dtype) -> None:
    pages = 6
    cost = keyframe_cost("bundled", dtype, pages)
    model = load_model("bundled", dtype=dtype)
    assert cost.weights_bytes == sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    session = StreamSession(model, MemoryConfig(max_new_frames=1, max_pages=pages), refine=False, tied=True)
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 144, 192), np.uint8)
    for index in range(pages + WINDOW):
        session.step(picture, [index])
    assert session.memory is not None
    assert cost.memory_bytes == session.memory.limit_bytes
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        session.step(picture, [pages + WINDOW])
    assert cost.operations == pytest.approx(counter.get_total_flops(), rel=0.1)
    assert cost.work_bytes > picture.nbytes
    assert cost.total_bytes == cost.weights_bytes + cost.memory_bytes + cost.work_bytes


def test_a_full_memory_costs_more() -> None:
    few, many = (keyframe_cost("bundled", torch.float32, pages) for pages in (6, 36))
    assert many.operations > few.operations
    assert many.memory_bytes >= 3 * few.memory_bytes
    assert many.weights_bytes == few.weights_bytes
    with pytest.raises(CheckpointError, match="no model is named"):
        keyframe_cost("nothing", torch.float32)


def test_the_high_water_of_tensors() -> None:
    with _HighWater() as water:
        first = torch.zeros(1000, dtype=torch.float32)
        second = first + 1
        view = second[10:]
        del first
        third = torch.cat([view, view])
        del second, view, third
        torch.zeros(500, dtype=torch.float32)
    assert water.most_bytes == 4 * (1000 + 2 * 990)


def test_a_speed_is_measured() -> None:
    assert operations_per_second("bundled", "cpu", torch.float32, steps=1) > 0
