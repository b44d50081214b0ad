"""Shared layers, RoPE tables, DPT pieces and pose formulas: the laws that hold whatever the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spark3r_core.attention.plan import Dense
from spark3r_core.models.dpt import DptHead, ResidualConvUnit, resize, uv_embedding, uv_vectors
from spark3r_core.models.layers import Attention, Block, GatedMlp, MaskedBiasLinear, by_frames, set_compute_dtype
from spark3r_core.models.pose_encoding import (
    decode_pose,
    fov_from_intrinsics,
    intrinsics_from_fov,
    invert_rigid,
    quat_xyzw_from_rotation,
    rigid_matrix,
    rotation_from_quaternion,
)
from spark3r_core.models.random_init import random_init
from spark3r_core.models.rope import TableCache, axial_rope, grid_positions, omega_rope


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_attention_over_one_frame_does_not_depend_on_who_computes_it() -> None:
    attention = random_init(Attention(32, 4, qk_norm=True))
    rope = axial_rope(*grid_positions(2, 3, 1), 8)
    x = seeded(3, 1, 7, 32)
    assert torch.allclose(attention(x, rope), attention(x, rope, Dense(), 0), atol=1e-6)
    pair = seeded(1, 2, 7, 32)
    alone = torch.cat([attention(pair[:, i : i + 1], rope) for i in range(2)], 1)
    assert torch.allclose(attention(pair, rope), alone, atol=1e-6)
    assert not torch.allclose(attention(pair, rope, Dense(), 0), alone, atol=1e-2)


def test_attention_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="cannot be split into 5 heads"):
        Attention(32, 5)
    with pytest.raises(ValueError, match="index of its layer"):
        Attention(32, 4)(seeded(1, 2, 7, 32), plan=Dense())


@pytest.mark.parametrize("plan", [None, Dense()])
def test_chunks_of_frames_leave_a_block_unchanged(plan: Dense | None) -> None:
    block, x = random_init(Block(32, 4, eps=1e-6, gated=True)), seeded(2, 5, 7, 32)
    whole = block(x, plan=plan, layer=0)
    for size in (1, 3, 10, 99):
        assert torch.allclose(block(x, plan=plan, layer=0, frames_per_chunk=size), whole, atol=1e-5)
    with pytest.raises(ValueError, match="at least 1"):
        by_frames(lambda part: part, x, 0)


def test_gated_width_is_that_of_da3_giant() -> None:
    assert GatedMlp(1536, 4 * 1536).w3.in_features == 4096


def test_masked_bias_counts_where_the_mask_says() -> None:
    linear = MaskedBiasLinear(3, 4)
    linear.bias_mask.copy_(torch.tensor([1.0, 0.0, 0.5, 0.0]))
    expected = linear.bias * torch.tensor([1.0, 0.0, 0.5, 0.0])
    assert torch.equal(linear(torch.zeros(1, 3))[0], expected)


def test_compute_dtype_leaves_the_residual_stream_wide() -> None:
    block = random_init(Block(32, 4, eps=1e-6, qk_norm=True))
    set_compute_dtype(block, torch.bfloat16, trunk=("",))
    assert block.attn.qkv.weight.dtype == block.mlp.fc2.bias.dtype == torch.bfloat16
    assert block.norm1.weight.dtype == block.attn.q_norm.weight.dtype == block.ls1.gamma.dtype == torch.float32
    assert block(seeded(1, 2, 7, 32)).dtype == torch.float32


@settings(max_examples=20, deadline=None)
@given(row=st.integers(0, 30), column=st.integers(0, 30), down=st.integers(0, 30), right=st.integers(0, 30))
def test_axial_rope_keeps_lengths_and_sees_only_differences_of_position(
    row: int, column: int, down: int, right: int
) -> None:
    rows, columns = torch.tensor([row, row + down]), torch.tensor([column, column + right])
    moved = axial_rope(rows, columns, 16)
    at_origin = axial_rope(rows - row, columns - column, 16)
    q, k = seeded(1, 16), seeded(1, 16, seed=1)
    product = (moved.apply(q.expand(2, -1))[0] * moved.apply(k.expand(2, -1))[1]).sum()
    shifted = (at_origin.apply(q.expand(2, -1))[0] * at_origin.apply(k.expand(2, -1))[1]).sum()
    assert torch.allclose(product, shifted, atol=1e-4)
    assert torch.allclose(moved.apply(q.expand(2, -1)).norm(dim=-1), q.norm().expand(2), atol=1e-5)


def test_axial_rope_pairs_elements_inside_each_half() -> None:
    rope = axial_rope(torch.tensor([1]), torch.tensor([0]), 16)
    unit = torch.zeros(1, 16)
    unit[0, 1] = 1.0  # frequency 100^(-2/8), turned by the row towards element 1 + 4
    angle = 100 ** (-2 / 8)
    expected = torch.zeros(1, 16)
    expected[0, 1], expected[0, 5] = math.cos(angle), math.sin(angle)
    assert torch.allclose(rope.apply(unit), expected, atol=1e-6)
    by_column = torch.zeros(1, 16)
    by_column[0, 9] = 1.0
    assert torch.equal(rope.apply(by_column), by_column)
    with pytest.raises(ValueError, match="divisible by 4"):
        axial_rope(torch.tensor([1]), torch.tensor([0]), 14)


def test_omega_rope_pairs_elements_across_the_head_and_divides_by_the_longer_side() -> None:
    rope = omega_rope(1, 4, 2, torch.tensor([1.0, 3.0]))
    x = torch.zeros(6, 8)
    x[:, 3] = 1.0  # column angle with period 3, pairs with element 3 + 4
    turned = rope.apply(x)
    assert torch.equal(turned[:2], x[:2])  # special tokens
    angle = 2 * math.pi * ((2 + 0.5) / 4 * 2 - 1) / 3
    assert turned[4, 3].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert turned[4, 7].item() == pytest.approx(math.sin(angle), abs=1e-6)


def test_table_cache_builds_once_per_key_and_forgets_the_oldest() -> None:
    cache, built = TableCache(capacity=2), []

    def table(key: int):
        return cache.get(key, lambda: built.append(key) or axial_rope(*grid_positions(1, key, 0), 4))

    with torch.inference_mode():
        first = table(1)
    assert table(1) is first
    assert not first.cos.is_inference()  # a training step may use it later
    table(2), table(3), table(1)
    assert built == [1, 2, 3, 1]


def test_residual_unit_adds_back_what_the_reference_adds_back() -> None:
    x = -seeded(1, 8, 4, 4).abs()
    for relu_skip, expected in ((True, torch.zeros_like(x)), (False, x)):
        unit = random_init(ResidualConvUnit(8, relu_skip))
        for parameter in unit.parameters():
            parameter.data.zero_()
        assert torch.equal(unit(x), expected)


def test_fusion_resizes_and_convolves_in_either_order() -> None:
    conv, x = torch.nn.Conv2d(8, 8, 1), seeded(1, 8, 5, 6)
    assert torch.allclose(resize(conv(x), (11, 13)), conv(resize(x, (11, 13))), atol=1e-5)


def test_dpt_of_the_smallest_grid_gives_the_asked_size() -> None:
    head = random_init(DptHead(16, 8, (8, 12, 16, 16), relu_skip=False))
    levels = head.pyramid([seeded(2, 1, 16, seed=i) for i in range(4)], (1, 1), (14, 14))
    assert head.fuse(levels, (8, 8)).shape == (2, 8, 8, 8)


def test_uv_plane_has_the_aspect_of_the_image_and_unit_half_diagonal() -> None:
    u, v = uv_vectors(30, 40, (300, 400), double=True)
    assert u[-1].item() * 40 / 39 == pytest.approx(0.8)
    assert v[-1].item() * 30 / 29 == pytest.approx(0.6)
    assert torch.allclose(u, -u.flip(0))
    table = uv_embedding(16, 3, 4, (30, 40), None, double=False)
    double = uv_embedding(16, 3, 4, (30, 40), None, double=True)
    assert table.dtype == double.dtype == torch.float32
    assert torch.allclose(table, double, atol=1e-6)
    u, v = uv_vectors(3, 4, (30, 40))
    assert torch.allclose(table[0], 0.1 * u.sin().expand(3, 4))
    assert torch.allclose(table[12], 0.1 * v.cos()[:, None].expand(3, 4))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4), st.floats(0.1, 5))
def test_quaternions_agree_with_scipy_and_come_back_with_positive_w(values: list[float], length: float) -> None:
    quat = np.array(values)
    if np.linalg.norm(quat) < 1e-2:
        quat = np.array([0.0, 1.0, 0.0, 0.0])
    rotation = rotation_from_quaternion(torch.tensor(quat * length))
    assert np.allclose(rotation.numpy(), Rotation.from_quat(quat).as_matrix(), atol=1e-6)
    back = quat_xyzw_from_rotation(rotation)
    assert float(back[3]) >= 0
    assert np.allclose(rotation_from_quaternion(back).numpy(), rotation.numpy(), atol=1e-6)


def test_half_turns_have_finite_quaternions() -> None:
    turns = torch.stack([torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])])
    assert torch.allclose(quat_xyzw_from_rotation(turns).abs(), torch.eye(4)[:3], atol=1e-6)


def test_pose_encoding_round_trip() -> None:
    encoding = torch.tensor([[1.0, -2.0, 3.0, 0.1, 0.2, -0.3, 0.9, 0.7, 1.1]])
    matrix, intrinsics = decode_pose(encoding, (30, 40))
    assert torch.allclose(invert_rigid(matrix) @ matrix, torch.eye(4)[None], atol=1e-6)
    assert torch.allclose(rigid_matrix(matrix[..., :3, :3], matrix[..., :3, 3]), matrix)
    assert torch.allclose(torch.stack(fov_from_intrinsics(intrinsics, (30, 40)), -1), encoding[:, 7:])
    assert intrinsics[0, :2, 2].tolist() == [20.0, 15.0]  # the exact centre of 40x30 pixels
    zero = torch.zeros(1)
    assert bool(intrinsics_from_fov(zero, zero, (30, 40), min_tan=1e-6).isfinite().all())
    assert not bool(intrinsics_from_fov(zero, zero, (30, 40)).isfinite().all())


def test_random_init_is_deterministic_and_sets_gains_to_one() -> None:
    one, same, other = (random_init(Block(16, 2, eps=1e-6, qk_norm=True), seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.attn.qkv.weight, other.attn.qkv.weight)
    assert bool((one.norm1.weight == 1).all())
    assert bool((one.ls2.gamma == 1).all())
    assert bool((one.attn.qkv.bias == 0).all())
    assert one.mlp.fc2.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
