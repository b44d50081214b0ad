"""The paged memory against the dense reference, under random begin / write / commit / rollback / evict."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.errors import MemoryBudgetError
from spark3r_core.memory.budget import MIN_PAGES, LayerBudget, allocate
from spark3r_core.memory.dense_reference import DenseMemory
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.memory.pages import PageTable
from spark3r_core.memory.policy import spread_victim
from spark3r_core.models.interface import CrossLayer

LAYERS = [
    CrossLayer("global.0", "global", 3, 1, 2, 4),
    CrossLayer("global.1", "global", 3, 1, 2, 4),
    CrossLayer("camera.0", "camera", 1, 1, 1, 8),
]
SENSITIVE = [True, False, True]
WINDOW = 4


def attention_set(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Rows (k, v) in a canonical order: attention does not see the order of pages, so the test must not either."""
    rows = torch.cat([keys[0].transpose(0, 1).flatten(1), values[0].transpose(0, 1).flatten(1)], 1)
    return rows[torch.argsort(rows[:, 0])]


@settings(deadline=None, max_examples=120)
@given(st.data())
def test_random_streams_equal_the_dense_reference(data: st.DataObject) -> None:
    max_pages = data.draw(st.integers(MIN_PAGES, 9))
    page_bytes = [b.page_bytes(torch.float32) for b in LAYERS]
    budgets = allocate(page_bytes, SENSITIVE, WINDOW, None, max_pages, swap_frame_bytes=0)
    fast = KVMemory(LAYERS, budgets)
    slow = DenseMemory(LAYERS, [b.pages for b in budgets])
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    next_frame = 0

    def victim(layer: int, frames: Sequence[int]) -> int:
        return spread_victim(frames, {0})

    for _ in range(data.draw(st.integers(1, 12))):
        old = sorted(set(fast.frames(0)) | set(fast.frames(1)))
        support = data.draw(st.lists(st.sampled_from(old), max_size=2, unique=True)) if old else []
        new = list(range(next_frame, next_frame + data.draw(st.integers(0 if support else 1, WINDOW - len(support)))))
        next_frame += len(new)
        window = support + new
        is_swap = data.draw(st.booleans())
        for memory in (fast, slow):
            if is_swap:
                window = sorted(window)
                memory.begin_swap(window, victim)
            else:
                memory.begin(window)
        for index, layer in enumerate(LAYERS):
            assert fast.window(index) == slow.window(index)
            shape = (1, layer.num_heads, len(fast.window(index)) * layer.tokens_per_frame, layer.head_dim)
            k, v = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
            got, want = fast.write(index, k, v), slow.write(index, k, v)
            torch.testing.assert_close(attention_set(*got), attention_set(*want), rtol=0, atol=0)
        if data.draw(st.booleans()):
            keep = set(data.draw(st.lists(st.sampled_from(window), unique=True)))
            for memory in (fast, slow):
                if is_swap:
                    memory.swap()
                else:
                    memory.commit(keep, victim)
        else:
            fast.rollback()
            slow.rollback()
        for index in range(len(LAYERS)):
            assert fast.frames(index) == slow.frames(index)
            for frame in fast.frames(index):
                for got_page, want_page in zip(fast.page(index, frame), slow.page(index, frame), strict=True):
                    torch.testing.assert_close(got_page, want_page, rtol=0, atol=0)
        assert fast.used_bytes <= fast.limit_bytes


def test_budget_is_kept_and_insensitive_layers_hold_a_third() -> None:
    page_bytes = [b.page_bytes(torch.bfloat16) for b in LAYERS]
    for max_bytes in (1500, 2000, 5000, 50_000):
        budgets = allocate(page_bytes, SENSITIVE, WINDOW, max_bytes)
        assert sum(b.slots * size for b, size in zip(budgets, page_bytes, strict=True)) <= max_bytes
        assert budgets[0].pages >= budgets[1].pages >= MIN_PAGES
    assert [b.pages for b in allocate(page_bytes, SENSITIVE, WINDOW, None)] == [40, 13, 40]


def test_a_swap_needs_slots_for_new_pages_and_bytes_for_tokens() -> None:
    page_bytes = [b.page_bytes(torch.float32) for b in LAYERS]
    budgets = allocate(page_bytes, SENSITIVE, WINDOW, None, 9, swap_frame_bytes=100)
    assert [(b.pages, b.slots) for b in budgets] == [(9, 18), (3, 7), (9, 18)]
    needed = sum(b.slots * size for b, size in zip(budgets, page_bytes, strict=True)) + 9 * 100
    assert allocate(page_bytes, SENSITIVE, WINDOW, needed, 40, swap_frame_bytes=100) == budgets
    assert allocate(page_bytes, SENSITIVE, WINDOW, needed - 1, 40, swap_frame_bytes=100)[0].pages == 8


def test_too_small_a_budget_says_what_is_needed() -> None:
    with pytest.raises(MemoryBudgetError, match="needs at least"):
        allocate([1 << 20], [True], 4, 1 << 20)


def test_limit_is_what_the_buffers_take() -> None:
    budgets = allocate([b.page_bytes(torch.float32) for b in LAYERS], SENSITIVE, WINDOW, None, 5)
    memory = KVMemory(LAYERS, budgets)
    assert memory.limit_bytes == sum(
        b.slots * layer.page_bytes(torch.float32) for b, layer in zip(budgets, LAYERS, strict=True)
    )
    assert memory.used_bytes == 0


def test_a_window_that_one_table_refuses_is_opened_in_none() -> None:
    """The layers that hold a third have fewer slots: what is too much for them must not move the others' pages."""
    memory = KVMemory(LAYERS, [LayerBudget(9, 13), LayerBudget(3, 7), LayerBudget(9, 13)])
    for frames in ([0, 1], [2, 3], [4, 5]):
        memory.begin(frames)
        for index, layer in enumerate(LAYERS):
            shape = (1, layer.num_heads, 2 * layer.tokens_per_frame, layer.head_dim)
            memory.write(index, torch.full(shape, float(frames[0])), torch.full(shape, float(frames[1])))
        memory.commit(frames, lambda _layer, kept: kept[0])
    before = {(i, f): memory.page(i, f)[0].clone() for i in range(len(LAYERS)) for f in memory.frames(i)}
    with pytest.raises(ValueError, match="do not fit 7 slots"):
        memory.begin([5, 3, 6, 7, 8])
    for (index, frame), page in before.items():
        assert torch.equal(memory.page(index, frame)[0], page)
    memory.begin([6, 7])
    memory.rollback()
    memory.rollback()  # nothing is open: nothing to forget


def test_misuse_of_a_page_table_is_refused() -> None:
    table = PageTable(3)
    with pytest.raises(ValueError, match="do not fit"):
        table.begin([0, 1, 2, 3])
    table.begin([0, 1])
    with pytest.raises(RuntimeError, match="open already"):
        table.begin([2])
    with pytest.raises(RuntimeError, match="while a window is open"):
        table.evict(0)
    with pytest.raises(ValueError, match="not in the window"):
        table.commit({7})
    table.commit({0, 1})
    with pytest.raises(RuntimeError, match="no window"):
        table.rollback()
    with pytest.raises(ValueError, match="twice"):
        table.begin([2, 2])
    table.begin([2])
    with pytest.raises(RuntimeError, match="no swap is open"):
        table.swap()
