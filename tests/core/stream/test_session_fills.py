"""The three ways to fill a memory and the two ways to empty it, behind one interface."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spark3r_core.attention.plan import Dense
from spark3r_core.errors import SettingsError
from spark3r_core.memory.config import Fill, MemoryConfig
from spark3r_core.models.interface import Backbone, CrossLayer, Decoded, Encoded, Prediction
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.session import StreamSession
from tests.core.models.reference_fixture import TOLERANCE, error
from tests.core.models.released import tiny
from tests.core.stream.dense_session import dense_session

FILLS: list[Fill] = ["support", "causal", "consolidate"]
EVERY_WAY = [(fill, eviction) for fill in FILLS for eviction in ("time", "views")]


def noise(frames: int, seed: int = 0, family: str = "da3") -> Tensor:
    hw = tiny(family)[1].images.shape[-2:]
    return torch.rand(frames, 3, *hw, generator=torch.Generator().manual_seed(seed))


def in_windows(images: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The frames cut into windows whose sizes come round again."""
    counts: list[int] = []
    while (left := len(images) - sum(counts)) > 0:
        counts.append(min(left, sizes[len(counts) % len(sizes)]))
    return list(images.split(counts))


def estimates(session: StreamSession, windows: Sequence[Tensor]) -> list[FrameEstimate]:
    return [estimate for window in windows for estimate in session.step(window).frames]


def assert_close(got: FrameEstimate, depth: Tensor | np.ndarray, pose: Tensor | np.ndarray, tolerance: float) -> None:
    assert error(torch.as_tensor(got.depth), torch.as_tensor(depth)) < tolerance
    assert error(torch.as_tensor(got.world_from_camera), torch.as_tensor(pose)) < tolerance


@pytest.mark.parametrize(("fill", "eviction"), EVERY_WAY)
def test_the_same_stream_twice_is_the_same(fill: Fill, eviction: str) -> None:
    model, windows = tiny("da3")[0], in_windows(noise(30), (1, 3, 2))
    config = MemoryConfig(fill=fill, eviction=eviction, max_pages=5, max_new_frames=3)  # type: ignore[arg-type]
    sessions = [StreamSession(model, config) for _ in range(2)]
    runs = [[session.step(window) for window in windows] for session in sessions]
    for first, again in zip(*runs, strict=True):
        decisions = [(r.support, r.admitted, r.evicted, r.consolidated, r.support_shift) for r in (first, again)]
        assert decisions[0] == decisions[1]
        for a, b in zip(first.frames, again.frames, strict=True):
            assert np.array_equal(a.depth, b.depth)
            assert np.array_equal(a.world_from_camera, b.world_from_camera)


@pytest.mark.parametrize(("fill", "eviction"), EVERY_WAY)
def test_bytes_stay_flat_within_the_limit(fill: Fill, eviction: str) -> None:
    model, images = tiny("da3")[0], noise(80)
    settings = {"fill": fill, "eviction": eviction, "max_new_frames": 2}
    budget = StreamSession(model, MemoryConfig(**settings, max_pages=6)).step(images[:1]).memory_limit_bytes  # type: ignore[arg-type]
    session = StreamSession(model, MemoryConfig(**settings, max_bytes=budget))  # type: ignore[arg-type]
    used, evicted, held = [], 0, 0
    for window in images.split(1):
        result = session.step(window)
        assert session.memory is not None
        held = session.memory.limit_bytes + session._remembered.kept.nbytes
        assert result.memory_used_bytes <= result.memory_limit_bytes == budget
        assert held <= budget
        assert all(frame.valid for frame in result.frames)
        used.append(result.memory_used_bytes)
        evicted += len(result.evicted)
    assert held == budget, "tokens of all frames that may be kept are there, and counted"
    assert evicted == len(images) - len(session.remembered)
    full, consolidations = used[40:], {True, False} if fill == "consolidate" else {True}
    assert len(set(full)) == len(consolidations), "full is full: with and without a second set of pages"
    assert max(full) > 0.6 * budget
    assert 0 in session.remembered


class Recorded(Dense):
    """All frames see each other; their keys and values are kept."""

    def __init__(self) -> None:
        self.pages: list[tuple[Tensor, Tensor]] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        assert layer == len(self.pages)
        self.pages.append((k, v))
        return super().attend(layer, q, k, v)


class Reading(Dense):
    """The window's frames see each other and all recorded keys and values."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        keys, values = self.recorded.pages[layer]
        return F.scaled_dot_product_attention(q, torch.cat([keys, k], 2), torch.cat([values, v], 2))


@pytest.mark.parametrize("family", ["da3", "vggt", "vggt_omega"])
@pytest.mark.parametrize("eviction", ["time", "views"])
def test_consolidation_is_a_joint_pass_that_is_then_read(family: str, eviction: str) -> None:
    model, images = tiny(family)[0], noise(26, family=family)
    config = MemoryConfig.consolidate(max_pages=5, eviction=eviction, max_new_frames=3, consolidate_every=6)
    session, done, passes = StreamSession(model, config), 0, 0
    together: tuple[int, ...] = ()
    for window in in_windows(images, (2, 3, 1)):
        result = session.step(window)
        assert result.support == ()
        with torch.inference_mode():
            recorded = Recorded()
            if together:
                model.decode(model.encode(images[list(together)][None]), recorded, reference=together.index(0))
            plan = Reading(recorded) if together else Dense()
            decoded = model.decode(model.encode(window[None]), plan, reference=None if together else 0)
            want = model.predict(decoded)
        for i, got in enumerate(result.frames):
            assert_close(got, want.depth[0, i], want.world_from_camera[0, i], TOLERANCE)
        done += len(window)
        if result.consolidated:
            passes += 1
            together = result.consolidated
            assert together[0] == 0
            assert len(together) == min(5, done)
            assert max(together) >= done - len(window)
            assert session.memory is not None
            assert session.memory.frames(0) == list(together)
            assert result.support_shift is not None
    assert passes == 5, "after the first window, then after 2, 3, 1 and so on at six new frames or more"


@pytest.mark.parametrize(("fill", "eviction"), EVERY_WAY)
@pytest.mark.parametrize(
    ("family", "name"), [("da3", ""), ("vggt", "vggt-1b"), ("pi3", ""), ("vggt_omega", "vggt-omega-1b")]
)
def test_every_way_equals_the_memory_by_concatenation(family: str, name: str, fill: Fill, eviction: str) -> None:
    """A registry name brings Spark3R's table: insensitive layers hold a third, and read a third in a joint pass."""
    model, windows = copy.copy(tiny(family)[0]), in_windows(noise(20, family=family), (1, 3, 2))
    model.name = name
    config = MemoryConfig(fill=fill, eviction=eviction, max_pages=7, max_new_frames=3)  # type: ignore[arg-type]
    if fill == "causal" and not model.capabilities.has_gauge:
        with pytest.raises(SettingsError, match="Pi3 has no gauge of its own"):
            StreamSession(model, config)
        return
    paged, dense = StreamSession(model, config), dense_session(model, config, tuple(windows[0].shape[-2:]))
    for got, want in zip(estimates(paged, windows), estimates(dense, windows), strict=True):
        assert_close(got, want.depth, want.world_from_camera, 1e-3)
    assert paged.memory is not None
    assert dense.memory is not None
    capacities = set()
    for layer in range(len(paged.memory.layers)):
        assert paged.memory.frames(layer) == dense.memory.frames(layer)
        capacities.add(len(paged.memory.frames(layer)))
    assert capacities == ({7, 2} if name else {7})


def test_a_model_without_a_gauge_is_aligned_by_frames_run_again_but_not_committed() -> None:
    model, windows = tiny("pi3")[0], in_windows(noise(12, family="pi3"), (2,))
    session = StreamSession(model, MemoryConfig.consolidate(max_pages=4, max_new_frames=2, consolidate_every=4))
    quiet = 0
    for number, window in enumerate(windows):
        memory = session.memory
        before = {} if memory is None else {f: memory.page(0, f)[0].clone() for f in memory.frames(0)}
        result = session.step(window)
        assert result.support == ((0, 2 * number - 1) if number else ())
        if not result.consolidated:
            quiet += 1
            assert memory is not None
            assert memory.frames(0) == sorted(before)
            assert all(torch.equal(page, memory.page(0, frame)[0]) for frame, page in before.items())
    assert quiet == 3


@pytest.mark.parametrize("fill", FILLS)
def test_views_keep_the_one_that_is_different(fill: Fill) -> None:
    """A camera that stands still for forty frames but for one: time forgets that one, views do not."""
    model, images, odd = tiny("da3")[0], noise(1).repeat(40, 1, 1, 1), 13
    images[odd] = 1 - images[odd]
    held = {}
    for eviction in ("time", "views"):
        config = MemoryConfig(fill=fill, eviction=eviction, max_pages=5, max_new_frames=2)  # type: ignore[arg-type]
        session = StreamSession(model, config)
        estimates(session, list(images.split(2)))
        assert session.memory is not None
        held[eviction] = session.memory.frames(0)
        assert held[eviction][0] == 0
        assert max(held[eviction]) >= 32, "the newest pages stay under both"
    assert odd in held["views"]
    assert odd not in held["time"]


def test_a_window_of_more_frames_than_pages_is_thinned_before_the_joint_pass() -> None:
    session = StreamSession(tiny("da3")[0], MemoryConfig.consolidate(max_pages=2, max_new_frames=8))
    results = [session.step(window) for window in noise(24).split(8)]
    assert [result.consolidated for result in results] == [(0, 7), (0, 15), (0, 23)]
    assert [result.evicted for result in results] == [tuple(range(1, 7)), tuple(range(7, 15)), tuple(range(15, 23))]
    assert all(result.memory_used_bytes <= result.memory_limit_bytes for result in results)


class Broken(Backbone):
    """Fault injection around a model: a joint pass of more than one window fails as told."""

    def __init__(self, inner: Backbone, window: int) -> None:
        super().__init__()
        self.inner, self.window, self.fault = inner, window, ""
        self.capabilities, self.patch_size = inner.capabilities, inner.patch_size

    def cross_layers(self, image_hw: tuple[int, int]) -> list[CrossLayer]:
        return self.inner.cross_layers(image_hw)

    def encode(self, images: Tensor) -> Encoded:
        return self.inner.encode(images)

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None) -> Prediction:
        return self.inner.predict(decoded, frames)

    def decode(self, encoded: Encoded, plan: object, reference: int | None = 0) -> Decoded:
        decoded = self.inner.decode(encoded, plan, reference)  # type: ignore[arg-type]
        if encoded.tokens.shape[1] <= self.window or not self.fault:
            return decoded
        if self.fault == "raise":
            raise RuntimeError("out of memory")
        return Decoded(decoded.taps, decoded.pose * torch.nan, decoded.image_hw, decoded.extras)

    @property
    def attention_dtype(self) -> torch.dtype:
        return self.inner.attention_dtype


@pytest.mark.parametrize("fault", ["raise", "not finite"])
def test_a_consolidation_that_fails_leaves_the_memory_as_it_was(fault: str) -> None:
    model = Broken(tiny("da3")[0], window=2)
    session = StreamSession(model, MemoryConfig.consolidate(max_pages=6, max_new_frames=2, consolidate_every=3))
    estimates(session, list(noise(4).split(2)))
    assert session.memory is not None
    remembered, pages = session.remembered, [session.memory.page(0, f)[0].clone() for f in session.memory.frames(0)]
    model.fault = fault
    if fault == "raise":
        with pytest.raises(RuntimeError, match="out of memory"):
            session.step(noise(2, seed=1))
        assert session.remembered == remembered, "the caller got no result of these frames, so none is kept"
    else:
        result = session.step(noise(2, seed=1))
        assert all(frame.valid for frame in result.frames), "they were tracked before"
        assert result.consolidated == ()
        assert result.evicted == (2, 3, 4, 5), "what joined since the last good pass"
    assert session.memory.frames(0) == [0, 1]
    assert all(torch.equal(a, session.memory.page(0, f)[0]) for a, f in zip(pages, (0, 1), strict=True))
    model.fault = ""
    later = [session.step(noise(2, seed=seed)) for seed in (2, 3)]
    assert all(frame.valid for result in later for frame in result.frames)
    assert any(result.consolidated for result in later)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"fill": "lazy"}, "fill is 'lazy'; expected support, causal, consolidate"),
        ({"eviction": "age"}, "eviction is 'age'; expected time, views"),
        ({"fill": "causal", "support_recent": 2}, '"causal" memory runs no frame again'),
        ({"consolidate_every": 4}, 'filled by "support"'),
        ({"fill": "consolidate", "consolidate_every": 0}, "at least 1"),
        ({"fill": "consolidate", "anchors": 0}, "needs its anchor"),
        ({"max_new_frames": 0}, "max_new_frames is 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        MemoryConfig(**settings)
