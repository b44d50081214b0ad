from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spark3r_core.attention.plan import Dense
from spark3r_core.attention.reduced import Reduced
from spark3r_core.models.interface import CrossLayer
from spark3r_core.timing import Stopwatch
from spark3r_core.tokens import Reduction
from spark3r_core.tokens.layout import TokenLayout
from tests.core.tokens.slow_reference import slow_reduced_attention
from tools.reduction_baselines import NoGlobalAttention, UniformMerging

HEADS, WIDTH = 2, 8


def layer(tokens: int, special: int = 2, kind: str = "global") -> CrossLayer:
    return CrossLayer("layer", kind, tokens, special, HEADS, WIDTH)


def qkv(frames: int, tokens: int, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v, raw = (torch.randn(batch, HEADS, frames * tokens, WIDTH, generator=generator) for _ in range(4))
    return q, k, v, raw


def run(plan, frames: int, tokens: int, tensors: tuple[Tensor, ...], special: int = 2, kind: str = "global") -> Tensor:
    q, k, v, raw = tensors
    plan.begin(frames, [layer(tokens, special, kind)])
    return plan.attend(0, q, k, v, q_unrotated=raw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frames", [1, 2, 9, 60])
def test_factor_one_is_dense_bit_for_bit(frames, dtype):
    tensors = tuple(x.to(dtype) for x in qkv(frames, 6))
    dense = run(Dense(), frames, 6, tensors)
    assert torch.equal(run(Reduced(Reduction.dense()), frames, 6, tensors), dense)
    assert torch.equal(run(Reduced(Reduction.spark3r()), frames, 6, tensors), dense)  # S <= 100 and no table


@pytest.mark.parametrize(
    ("frames", "query_factor", "kv_factor", "group"),
    [(6, 2, 1, 3), (6, 1, 2, 3), (7, 3, 4, 3), (5, 4, 100, 20), (5, 100, 2, 2), (2, 2, 2, 20), (1, 3, 3, 20)],
)
def test_equals_the_token_by_token_reference(frames, query_factor, kv_factor, group):
    tensors = qkv(frames, 6)
    q, k, v, raw = tensors
    reduction = Reduction.fixed(query_factor, kv_factor).with_(group_frames=group)
    slow = slow_reduced_attention(q, k, v, raw, TokenLayout(frames, 6, 2), (query_factor, kv_factor), group)
    torch.testing.assert_close(run(Reduced(reduction), frames, 6, tensors), slow, rtol=1e-4, atol=1e-5)


def test_layers_without_rope_are_matched_by_the_queries_themselves():
    q, k, v, _ = qkv(6, 6)
    plan = Reduced(Reduction.fixed(3, 2))
    given = run(plan, 6, 6, (q, k, v, q))
    assert torch.equal(plan.attend(0, q, k, v), given)


def test_register_and_camera_layers_stay_dense():
    tensors = qkv(8, 4)
    for kind in ("register", "camera"):
        dense = run(Dense(), 8, 4, tensors)
        for plan in (Reduced(Reduction.fixed(4, 4)), UniformMerging(), NoGlobalAttention()):
            assert torch.equal(run(plan, 8, 4, tensors, special=4, kind=kind), dense)


def test_dropped_frames_do_not_matter_and_kept_ones_do():
    q, k, v, raw = qkv(9, 6, batch=1)
    plan = Reduced(Reduction.fixed(1, 4).with_(always_kept=(0, 7)))
    before = run(plan, 9, 6, (q, k, v, raw))
    for frame in range(9):
        changed = v.clone()
        changed[:, :, frame * 6 : (frame + 1) * 6] += 1
        same = torch.equal(plan.attend(0, q, k, changed, q_unrotated=raw), before)
        assert same == (frame not in (0, 4, 7, 8))


def test_special_tokens_of_dropped_frames_can_be_kept():
    q, k, v, raw = qkv(6, 6, batch=1)
    changed = v.clone()
    changed[:, :, 6:8] += 1  # special tokens of frame 1, whose patches are dropped
    for keep in (False, True):
        plan = Reduced(Reduction.fixed(1, 3).with_(all_special_kv=keep))
        before = run(plan, 6, 6, (q, k, v, raw))
        assert torch.equal(plan.attend(0, q, k, changed, q_unrotated=raw), before) is not keep


def test_special_queries_get_their_own_output():
    """They are never merged, so pruning alone decides what they get."""
    tensors = qkv(8, 6)
    special = TokenLayout(8, 6, 2).special_index()
    merged = run(Reduced(Reduction.fixed(8, 2)), 8, 6, tensors)
    pruned = run(Reduced(Reduction.fixed(1, 2)), 8, 6, tensors)
    torch.testing.assert_close(merged[:, :, special], pruned[:, :, special])
    assert not torch.allclose(merged, pruned)


def test_merging_equal_keys_is_the_same_as_dropping_them():
    """Where frames repeat, averaging adds nothing: the paper's reason for pruning."""
    q, k, v, raw = qkv(1, 6, batch=1)
    tensors = tuple(x.repeat(1, 1, 6, 1) for x in (q, k, v, raw))
    pruned = run(Reduced(Reduction.fixed(1, 3)), 6, 6, tensors)
    merged = run(Reduced(Reduction.fixed(1, 3).with_(kv_mode="merge")), 6, 6, tensors)
    torch.testing.assert_close(merged, pruned)


def test_merged_keys_are_means_over_the_segment():
    q, k, v, raw = qkv(5, 3, batch=1)  # one patch per frame: nothing to choose
    layout = TokenLayout(5, 3, 2)
    plan = Reduced(Reduction.fixed(1, 2).with_(kv_mode="merge"))
    out = run(plan, 5, 3, (q, k, v, raw))
    special = layout.special_index([0, 2, 4])
    patches = [x[:, :, layout.patch_index()] for x in (k, v)]
    means = [torch.stack([x[:, :, 0:2].mean(2), x[:, :, 2:4].mean(2), x[:, :, 4]], 2) for x in patches]
    keys, values = (torch.cat([x[:, :, special], m], 2) for x, m in zip((k, v), means, strict=True))
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(q, keys, values))


@pytest.mark.parametrize("plan", [Reduced(Reduction.fixed(3, 2)), UniformMerging()])
def test_batch_items_are_independent_and_runs_repeat(plan):
    tensors = qkv(9, 10, batch=3)
    together = run(plan, 9, 10, tensors)
    assert torch.equal(run(plan, 9, 10, tensors), together)
    for b in range(3):
        alone = run(plan, 9, 10, tuple(x[b : b + 1] for x in tensors))
        torch.testing.assert_close(alone[0], together[b])


def test_a_window_that_was_not_announced_is_refused():
    q, k, v, raw = qkv(4, 6)
    plan = Reduced(Reduction.fixed(2, 2))
    plan.begin(5, [layer(6)])
    with pytest.raises(ValueError, match=r"begin\(\) announced 30"):
        plan.attend(0, q, k, v, q_unrotated=raw)


def test_stopwatch_sees_matching_and_attention():
    watch = Stopwatch()
    run(Reduced(Reduction.fixed(2, 2), stopwatch=watch), 6, 6, qkv(6, 6))
    assert set(watch.seconds()) == {"match", "global"}
    assert min(watch.seconds().values()) > 0


def test_without_global_attention_a_token_sees_only_itself():
    q, k, v, raw = qkv(4, 6)
    assert torch.equal(run(NoGlobalAttention(), 4, 6, (q, k, v, raw)), v)


def test_uniform_merging_protects_the_reference_frame_the_special_and_the_salient_tokens():
    frames, tokens, special = 6, 22, 2
    layout = TokenLayout(frames, tokens, special)
    plan = UniformMerging(merge_ratio=0.9, region=4, salient_share=0.1)
    plan.begin(frames, [layer(tokens, special)])
    merge = plan._match(torch.randn(1, layout.num_tokens, 16), layout)
    assert merge is not None
    patches = layout.patch_index(range(1, frames))
    salient = patches[::10]
    free = patches[torch.arange(patches.numel()) % 10 != 0]
    sources = free[torch.arange(free.numel()) % 4 != 0]
    assert merge.num_out == layout.num_tokens - sources.numel()
    slots, counts = merge.slot_of[0], merge.counts()[0]
    for index in (layout.special_index(), salient):
        assert counts[slots[index]].unique().tolist() == [1]
    stays = torch.ones(layout.num_tokens, dtype=torch.bool)
    stays[sources] = False
    assert slots[stays].unique().numel() == int(stays.sum())  # no destination merged into another token


def test_uniform_merging_merges_the_most_similar_first_and_nothing_at_ratio_zero():
    tensors = qkv(5, 12)
    assert torch.equal(run(UniformMerging(merge_ratio=0.0), 5, 12, tensors), run(Dense(), 5, 12, tensors))
    layout = TokenLayout(5, 12, 0)
    x = torch.randn(1, 60, 4, generator=torch.Generator().manual_seed(1))
    x[0, 51] = x[0, 2]  # an exact copy of a token of the reference frame, in frame 4
    plan = UniformMerging(merge_ratio=1 / 60 + 1e-6, salient_share=0.0)
    plan.begin(5, [layer(12, 0)])
    merge = plan._match(x, layout)
    assert merge is not None
    assert merge.num_out == 59
    assert merge.slot_of[0, 51] == merge.slot_of[0, 2]
    with pytest.raises(ValueError, match="make no sense"):
        UniformMerging(merge_ratio=1.0)
