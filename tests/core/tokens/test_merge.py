from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.tokens.layout import TokenLayout
from spark3r_core.tokens.merge import Merge, match_in_groups, match_queries, nearest_by_cosine
from tests.core.tokens.slow_reference import slow_query_slots

layouts = st.builds(
    lambda frames, patches, special: TokenLayout(frames, patches + special, special),
    st.integers(1, 9),
    st.integers(1, 7),
    st.integers(0, 3),
)
factors = st.integers(1, 12)
groups = st.integers(1, 11)  # sizes that divide S, that do not, and beyond S


def content(layout: TokenLayout, batch: int = 2, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, layout.num_tokens, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(layouts, factors, groups)
def test_matching_equals_the_token_by_token_reference(layout, factor, group):
    x = content(layout, batch=1)
    merge = match_queries(x, layout, factor, group)
    into = slow_query_slots(x[0], layout, factor, group)
    slots = merge.slot_of[0].tolist()
    assert merge.num_out == len(set(into))
    assert [slots[t] == slots[into[t]] for t in range(layout.num_tokens)] == [True] * layout.num_tokens
    assert len(set(slots)) == merge.num_out  # rows that the reference keeps apart are apart


@settings(max_examples=40, deadline=None)
@given(layouts, factors, groups)
def test_laws_of_merging(layout, factor, group):
    x, values = content(layout), content(layout, width=4, seed=1)
    merge = match_queries(x, layout, factor, group)
    merged = merge.merge(values)
    assert merged.shape == (2, merge.num_out, 4)
    assert merge.unmerge(merged).shape == values.shape
    counts = merge.counts()
    assert counts.min() >= 1
    assert counts.sum(1).tolist() == [layout.num_tokens] * 2
    # Sums are conserved, merging what was copied back changes nothing, and special tokens pass through bit for bit.
    torch.testing.assert_close((merged * counts[..., None]).sum(1), values.sum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(merge.merge(merge.unmerge(merged)), merged)
    special = layout.special_index()
    assert torch.equal(merge.unmerge(merged)[:, special], values[:, special])


@settings(max_examples=30, deadline=None)
@given(layouts, groups)
def test_factor_one_merges_nothing(layout, group):
    values = content(layout, seed=3)
    merge = match_queries(content(layout), layout, 1, group)
    assert merge.num_out == layout.num_tokens
    assert torch.equal(merge.unmerge(merge.merge(values)), values)


def test_unmerge_keeps_the_order_of_tokens():
    merge = Merge.from_slots(torch.tensor([[2, 0, 1, 0], [0, 1, 1, 2]]), 3)
    rows = torch.tensor([[[10.0], [11.0], [12.0]], [[20.0], [21.0], [22.0]]])
    assert merge.unmerge(rows).squeeze(-1).tolist() == [[12, 10, 11, 10], [20, 21, 21, 22]]
    assert merge.merge(torch.tensor([[[1.0], [2], [3], [4]], [[1], [2], [3], [4]]])).squeeze(-1).tolist() == [
        [3, 3, 1],
        [1, 2.5, 4],
    ]
    assert merge.counts().tolist() == [[2, 1, 1], [1, 2, 1]]


def test_batch_items_do_not_influence_each_other():
    layout = TokenLayout(7, 10, 2)
    x, values = content(layout, batch=3), content(layout, batch=3, seed=1)
    together = match_queries(x, layout, 3, 4)
    for b in range(3):
        alone = match_queries(x[b : b + 1], layout, 3, 4)
        assert torch.equal(alone.slot_of[0], together.slot_of[b])
        assert torch.equal(alone.merge(values[b : b + 1])[0], together.merge(values)[b])


def test_tokens_never_leave_their_group():
    layout = TokenLayout(7, 6, 1)
    x = torch.ones(1, layout.num_tokens, 4)  # all alike: every token is tempted by the first destination of all
    merge = match_queries(x, layout, 4, 3)
    frame = torch.arange(layout.num_tokens)[layout.patch_index()] // layout.tokens_per_frame
    slots = merge.slot_of[0, layout.patch_index()]
    for slot in slots.unique():
        assert len({int(f) // 3 for f in frame[slots == slot]}) == 1


def test_channel_order_and_scale_do_not_matter():
    layout = TokenLayout(6, 9, 1)
    x = content(layout, width=16)
    changed = x[..., torch.randperm(16, generator=torch.Generator().manual_seed(5))] * 7.5
    assert torch.equal(match_queries(x, layout, 4, 5).slot_of, match_queries(changed, layout, 4, 5).slot_of)


def test_matching_repeats_exactly_and_ties_go_to_the_first_destination():
    layout = TokenLayout(5, 8, 0)
    x = content(layout).round()  # many equal tokens
    first = match_queries(x, layout, 3, 5)
    assert torch.equal(first.slot_of, match_queries(x.clone(), layout, 3, 5).slot_of)
    alike = match_queries(torch.ones(1, 40, 4), layout, 3, 5)
    sources = torch.arange(40) % 3 != 0
    assert alike.slot_of[0, sources].unique().tolist() == [0]


@pytest.mark.parametrize("max_similarities", [1, 7, 40, 10_000])
def test_blocks_of_similarities_do_not_change_the_match(max_similarities):
    x, y = torch.randn(3, 11, 5), torch.randn(3, 6, 5)
    index, cosine = nearest_by_cosine(x, y, max_similarities)
    brute = torch.nn.functional.cosine_similarity(x[:, :, None], y[:, None], dim=-1)
    assert torch.equal(index, brute.argmax(-1))
    torch.testing.assert_close(cosine, brute.amax(-1))


def test_bfloat16_is_matched_like_float32():
    """bfloat16 products would call all of these tokens equal (cosines above 0.996) and send them to destination 0."""
    generator = torch.Generator().manual_seed(0)
    base = torch.ones(64)
    targets = (base + 0.05 * torch.randn(1, 8, 64, generator=generator)).bfloat16()
    sources = targets[:, [3, 1, 7, 5]]
    assert nearest_by_cosine(sources, targets)[0].tolist() == [[3, 1, 7, 5]]
    layout = TokenLayout(4, 16, 0)
    x = torch.randn(1, 64, 32, generator=generator).bfloat16()
    merge = match_queries(x, layout, 4, 2)
    assert torch.equal(merge.slot_of, match_queries(x.float(), layout, 4, 2).slot_of)
    assert merge.merge(x).dtype == torch.bfloat16
    torch.testing.assert_close(merge.merge(x).float(), merge.merge(x.float()), atol=2e-2, rtol=2e-2)


def test_destinations_are_free_to_choose():
    patches = torch.randn(1, 5, 3, 4)
    ranks, total = match_in_groups(patches, 2, torch.arange(3))  # the first frame of each pair, as in K/V merging
    assert total == 9
    assert ranks[0, [0, 2, 4]].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert set(ranks[0, 1].tolist()) <= {0, 1, 2}
    assert set(ranks[0, 3].tolist()) <= {3, 4, 5}


def test_wrong_sizes_are_refused():
    merge = match_queries(torch.randn(1, 8, 4), TokenLayout(2, 4, 1), 2, 2)
    with pytest.raises(ValueError, match="matched for"):
        merge.merge(torch.randn(1, 9, 4))
    with pytest.raises(ValueError, match="unmerge expects"):
        merge.unmerge(torch.randn(2, merge.num_out, 4))
    with pytest.raises(ValueError, match="at least 1"):
        match_queries(torch.randn(1, 8, 4), TokenLayout(2, 4, 1), 0, 2)


@pytest.mark.gpu
def test_cuda_matches_and_merges_like_the_cpu_and_repeats():
    layout = TokenLayout(9, 20, 2)
    x = content(layout, width=32)
    here, there = match_queries(x, layout, 4, 4), match_queries(x.cuda(), layout, 4, 4)
    assert torch.equal(here.slot_of, there.slot_of.cpu())
    merged = there.merge(x.cuda())
    torch.testing.assert_close(merged.cpu(), here.merge(x))
    assert torch.equal(merged, match_queries(x.cuda(), layout, 4, 4).merge(x.cuda()))
