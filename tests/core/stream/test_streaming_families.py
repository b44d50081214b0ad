"""Every family in a stream whose budget forces eviction, and offline at a length where Spark3R reduces."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.errors import MemoryBudgetError
from spark3r_core.memory.budget import INSENSITIVE_SHARE, MIN_PAGES
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.kv_memory import page_dtype
from spark3r_core.models.interface import Backbone
from spark3r_core.models.layers import set_compute_dtype
from spark3r_core.offline.reconstruct import reconstruct
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.session import StreamSession
from spark3r_core.tokens import Reduction
from spark3r_core.tokens.sensitivity import sensitive_layers
from tests.core.models.reference_fixture import error
from tests.core.models.released import DA3_SIZES, FAMILIES, tiny
from tests.core.stream.dense_session import dense_session

PAGES = 6
WINDOWS = (1, 4, 2, 3)  # new frames per window, over and over
CONFIG = MemoryConfig(max_new_frames=max(WINDOWS))
REGISTRY_NAME = {"vggt": "vggt-1b", "pi3": "pi3", "da3giant": "da3-giant", "vggt_omega": "vggt-omega-1b"}
KINDS = {"vggt": {"global", "camera"}, "vggt_omega": {"global", "register", "camera"}}
EVERY_FAMILY = pytest.mark.parametrize("family", [*DA3_SIZES, *FAMILIES])


def image_hw(family: str) -> tuple[int, int]:
    height, width = tiny(family)[1].images.shape[-2:]
    return int(height), int(width)


def noise(family: str, frames: int) -> Tensor:
    return torch.rand(frames, 3, *image_hw(family), generator=torch.Generator().manual_seed(0))


def windows(images: Tensor) -> list[Tensor]:
    """The frames cut into windows of changing size."""
    sizes: list[int] = []
    while (left := len(images) - sum(sizes)) > 0:
        sizes.append(min(left, WINDOWS[len(sizes) % len(WINDOWS)]))
    return list(images.split(sizes))


def bytes_for(model: Backbone, hw: tuple[int, int], pages: int) -> int:
    """The smallest budget with which every layer keeps `pages`, counted layer by layer from their shapes."""
    slots = pages + CONFIG.max_new_frames + CONFIG.max_support_frames
    with torch.inference_mode():
        support = CONFIG.max_support_frames * model.encode(torch.zeros(1, 1, 3, *hw)).nbytes
    layers = model.cross_layers(hw)
    values = [2 * layer.tokens_per_frame * layer.num_heads * layer.head_dim for layer in layers]
    sizes = [page_dtype(layer, model.attention_dtype).itemsize for layer in layers]
    return support + slots * sum(n * size for n, size in zip(values, sizes, strict=True))


def stream(session: StreamSession, images: Tensor) -> list[FrameEstimate]:
    return [estimate for window in windows(images) for estimate in session.step(window).frames]


@pytest.mark.parametrize("frames", [60, pytest.param(500, marks=pytest.mark.slow)])
@EVERY_FAMILY
def test_a_stream_stays_within_its_bytes_and_is_repeatable(family: str, frames: int) -> None:
    model, images = tiny(family)[0], noise(family, frames)
    budget = bytes_for(model, image_hw(family), PAGES)
    config = MemoryConfig(**{**vars(CONFIG), "max_bytes": budget})
    session = StreamSession(model, config)
    estimates: list[FrameEstimate] = []
    evicted: set[int] = set()
    for window in windows(images):
        result = session.step(window)
        assert result.memory_used_bytes <= result.memory_limit_bytes == budget
        assert len(session.remembered) <= PAGES + config.max_support_frames
        estimates += result.frames
        evicted |= set(result.evicted)
    assert [estimate.frame_id for estimate in estimates] == list(range(frames))
    assert [estimate.failure for estimate in estimates if not estimate.valid] == []
    assert len(evicted) == frames - PAGES
    assert session.memory is not None
    for layer in range(len(session.memory.layers)):
        held = session.memory.frames(layer)
        assert len(held) == PAGES
        assert (held[0], held[-1]) == (0, frames - 1)
    for first, again in zip(estimates, stream(StreamSession(model, config), images), strict=True):
        assert np.array_equal(first.depth, again.depth)
        assert np.array_equal(first.world_from_camera, again.world_from_camera)


@EVERY_FAMILY
def test_every_cross_frame_layer_is_in_the_budget(family: str) -> None:
    """Camera trunks and register layers too: one byte less than all layers together need is refused."""
    model, hw = tiny(family)[0], image_hw(family)
    assert {layer.kind for layer in model.cross_layers(hw)} == KINDS.get(family, {"global"})
    smallest = bytes_for(model, hw, MIN_PAGES)
    session = StreamSession(model, MemoryConfig(**{**vars(CONFIG), "max_bytes": smallest}))
    assert session.step(noise(family, 2)).memory_limit_bytes == smallest
    with pytest.raises(MemoryBudgetError, match="at least"):
        StreamSession(model, MemoryConfig(**{**vars(CONFIG), "max_bytes": smallest - 1})).step(noise(family, 2))


@pytest.mark.parametrize(
    ("family", "name"), [*((family, "") for family in (*DA3_SIZES, *FAMILIES)), *REGISTRY_NAME.items()]
)
def test_eviction_and_support_frames_equal_the_memory_by_concatenation(family: str, name: str) -> None:
    """A registry name brings Spark3R's table: insensitive layers keep a third, two page tables in one stream."""
    model, images = copy.copy(tiny(family)[0]), noise(family, 30)
    model.name = name
    config = MemoryConfig(**{**vars(CONFIG), "max_pages": 9})
    paged, dense = StreamSession(model, config), dense_session(model, config, image_hw(family))
    for got, want in zip(stream(paged, images), stream(dense, images), strict=True):
        assert error(torch.tensor(got.depth), torch.tensor(want.depth)) < 1e-3
        assert error(torch.tensor(got.world_from_camera), torch.tensor(want.world_from_camera)) < 1e-3
    assert paged.memory is not None
    assert dense.memory is not None
    flags = sensitive_layers(name, paged.memory.layers)
    assert all(flags) != bool(name)
    for layer, sensitive in enumerate(flags):
        assert paged.memory.frames(layer) == dense.memory.frames(layer)
        assert len(paged.memory.frames(layer)) == (9 if sensitive else 9 // INSENSITIVE_SHARE)


@EVERY_FAMILY
def test_a_bfloat16_trunk_streams_in_half_the_bytes(family: str) -> None:
    model, images = copy.deepcopy(tiny(family)[0]), noise(family, 20)
    exact = stream(StreamSession(model, CONFIG), images)
    set_compute_dtype(model, torch.bfloat16)
    budget = bytes_for(model, image_hw(family), PAGES)
    session = StreamSession(model, MemoryConfig(**{**vars(CONFIG), "max_bytes": budget}))
    estimates = stream(session, images)
    assert all(estimate.valid for estimate in estimates)
    assert session.memory is not None
    for layer, budgeted, dtype in zip(
        session.memory.layers, session.memory.budgets, session.memory.dtypes, strict=True
    ):
        assert budgeted.pages == PAGES
        assert dtype == (torch.float32 if layer.kind == "camera" else torch.bfloat16)
    assert 0 < error(torch.tensor(estimates[0].depth), torch.tensor(exact[0].depth)) < 0.1


@EVERY_FAMILY
def test_two_hundred_frames_offline_with_spark3r(family: str) -> None:
    model, images = tiny(family)[0], noise(family, 200)
    reduced = reconstruct(model, images, Reduction.spark3r())
    assert reduced.world_from_camera.shape == (200, 4, 4)
    assert reduced.depth.shape == (200, *image_hw(family))
    assert np.isfinite(reduced.depth).all()
    assert np.isfinite(reduced.world_from_camera).all()
    assert not np.array_equal(reduced.depth, reconstruct(model, images, Reduction.dense()).depth)
