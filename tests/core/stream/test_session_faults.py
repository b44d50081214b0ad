"""What fails in a step leaves the session as it was, and the next window works; what begins a map is its origin."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.attention.plan import AttentionPlan, Dense
from spark3r_core.attention.streaming import Filling
from spark3r_core.errors import ImageError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.models.da3 import DA3
from spark3r_core.models.interface import Backbone, Decoded, Encoded, Prediction
from spark3r_core.models.pi3 import Pi3
from spark3r_core.stream.estimates import WindowResult
from spark3r_core.stream.kept_frames import KeptFrames
from spark3r_core.stream.refiner import PhotometricRefiner
from spark3r_core.stream.session import StreamSession
from tests.core.models.released import tiny
from tests.core.photometric.scene import Room, path, video

HW = (42, 56)


def noise(frames: int, seed: int = 0, family: str = "da3") -> Tensor:
    hw = tiny(family)[1].images.shape[-2:]
    return torch.rand(frames, 3, *hw, generator=torch.Generator().manual_seed(seed))


def walk(frames: int) -> Tensor:
    """Pictures of a room, which refinement can align."""
    return video(Room(), path(frames), HW)[0]


def variant(family: str, faulty: type[Backbone]) -> Any:
    """The family's tiny model with a fault that can be switched on."""
    inner = tiny(family)[0]
    model = faulty(inner.config)  # type: ignore[call-arg, arg-type]
    model.load_state_dict(inner.state_dict())
    return model.eval()


def snapshot(session: StreamSession) -> dict[str, Any]:
    """All that a later window depends on; pages by layer and frame, whatever slots they lie in."""
    memory = session.memory
    layers = [] if memory is None else range(len(memory.layers))
    pages = {(i, f): torch.stack(memory.page(i, f)) for i in layers for f in memory.frames(i)}  # type: ignore[union-attr]
    remembered = session._remembered
    views = {} if remembered is None else remembered._evictor._views
    return {
        "views": {pages: (tuple(one.frames), one._distance.tobytes()) for pages, one in views.items()},
        "pages": {key: page.numpy().tobytes() for key, page in pages.items()},
        "kept": {f: remembered.kept[f].world_from_camera.tobytes() for f in session.kept},  # type: ignore[union-attr]
        "since_consolidation": 0 if remembered is None else remembered._since_consolidation,
        "gauge": None if session._map_from_gauge is None else session._map_from_gauge.matrix.tobytes(),
        "refiner": copy.deepcopy(vars(session._refiner)["_network_focals"]),
        "chain": session._chain,
        "image_hw": session.image_hw,
    }


def assert_same(got: WindowResult, want: WindowResult) -> None:
    """Slots of pages may have been exchanged, so sums over them may differ in the last digits."""
    assert (got.support, got.admitted, got.evicted) == (want.support, want.admitted, want.evicted)
    assert got.confirmed == want.confirmed
    for a, b in zip(got.frames, want.frames, strict=True):
        assert (a.frame_id, a.failure) == (b.frame_id, b.failure)
        np.testing.assert_allclose(a.world_from_camera, b.world_from_camera, atol=1e-4)
        np.testing.assert_allclose(a.depth, b.depth, rtol=1e-3, atol=1e-4)


class Once:
    """Calls through, and raises once when told: before the call is made, or after."""

    def __init__(self, through: Callable[..., Any], when: str) -> None:
        self.through, self.when, self.armed = through, when, False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.armed and self.when == "before":
            self.armed = False
            raise RuntimeError("out of memory")
        result = self.through(*args, **kwargs)
        if self.armed:
            self.armed = False
            raise RuntimeError("out of memory")
        return result


def fails_once(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, when: str, session: StreamSession, images: Tensor
) -> None:
    """One window in which `owner.method` raises: the error comes out as it is, and nothing has changed."""
    before, once = snapshot(session), Once(getattr(owner, method), when)
    with monkeypatch.context() as patched:
        patched.setattr(owner, method, lambda *args, **kwargs: once(*args, **kwargs))
        once.armed = True
        with pytest.raises(RuntimeError, match=r"^out of memory$"):
            session.step(images)
    assert not once.armed, "the fault was never met"
    assert snapshot(session) == before


@pytest.mark.parametrize("begun", [0, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_in_refinement_leaves_everything_as_it_was(
    monkeypatch: pytest.MonkeyPatch, when: str, begun: int
) -> None:
    images = walk(16).split(2)
    session, untouched = (StreamSession(tiny("da3")[0], refine=True) for _ in range(2))
    for window in images[:begun]:
        assert_same(session.step(window), untouched.step(window))
    fails_once(monkeypatch, PhotometricRefiner, "step", when, session, images[6])
    for window in images[begun:5]:
        assert_same(session.step(window), untouched.step(window))


def test_what_refinement_found_in_a_window_that_failed_later_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    images = walk(14).split(2)
    session, untouched = (StreamSession(tiny("da3")[0], refine=True) for _ in range(2))
    for window in images[:2]:
        assert_same(session.step(window), untouched.step(window))
    fails_once(monkeypatch, KeptFrames, "update", "before", session, images[6])
    for window in images[2:5]:
        assert_same(session.step(window), untouched.step(window))


@pytest.mark.parametrize(
    ("method", "when"),
    [("begin", "before"), ("begin", "after"), ("write", "before"), ("write", "after"), ("commit", "before")],
)
@pytest.mark.parametrize("eviction", ["time", "views"])
def test_a_fault_of_the_memory_is_one_window_long(
    monkeypatch: pytest.MonkeyPatch, method: str, when: str, eviction: str
) -> None:
    """Insensitive layers hold a third, so two tables of pages have to stay in step."""
    model = copy.copy(tiny("vggt")[0])
    model.name = "vggt-1b"
    config = MemoryConfig(max_pages=7, max_new_frames=2, eviction=eviction)
    session, untouched = StreamSession(model, config), StreamSession(model, config)
    for seed in range(3):
        assert_same(*(one.step(noise(2, seed, "vggt")) for one in (session, untouched)))
    fails_once(monkeypatch, KVMemory, method, when, session, noise(2, 9, "vggt"))
    for seed in range(3, 6):
        assert_same(*(one.step(noise(2, seed, "vggt")) for one in (session, untouched)))


class JointPassFails(DA3):
    """Fault injection: while told so, poses of joint passes are not finite; windows are as they were."""

    broken = False

    def decode(self, encoded: Encoded, plan: AttentionPlan, reference: int | None = 0) -> Decoded:  # type: ignore[override]
        decoded = super().decode(encoded, plan, reference)
        if not (self.broken and isinstance(plan, Filling)):
            return decoded
        return Decoded(decoded.taps, decoded.pose * torch.nan, decoded.image_hw, decoded.extras)


def test_a_map_whose_first_joint_pass_is_not_finite_does_not_begin_and_says_so() -> None:
    model = variant("da3", JointPassFails)
    session = StreamSession(model, MemoryConfig.consolidate(max_pages=6, max_new_frames=2, consolidate_every=2))
    model.broken = True
    for seed in range(2):
        result = session.step(noise(2, seed))
        assert [frame.failure for frame in result.frames] == ["the joint pass that begins the map is not finite"] * 2
        assert (result.admitted, result.consolidated, session.remembered) == ((), (), set())
    model.broken = False
    fresh = StreamSession(model, session.config)
    for seed in range(2, 5):
        got, want = session.step(noise(2, seed)), fresh.step(noise(2, seed))
        assert got.consolidated == tuple(frame + 4 for frame in want.consolidated)
        for a, b in zip(got.frames, want.frames, strict=True):
            assert a.valid
            assert a.frame_id == b.frame_id + 4
            assert np.array_equal(a.world_from_camera, b.world_from_camera)


def test_a_joint_pass_that_is_not_finite_keeps_frames_and_gauge() -> None:
    model = variant("da3", JointPassFails)
    session = StreamSession(model, MemoryConfig.consolidate(max_pages=6, max_new_frames=2, consolidate_every=2))
    for seed in range(2):
        session.step(noise(2, seed))
    before = snapshot(session)
    model.broken = True
    result = session.step(noise(2, 2))
    assert all(frame.valid for frame in result.frames), "the window was tracked before the pass"
    after = snapshot(session)
    for what in ("pages", "kept", "gauge"):
        assert after[what] == before[what], what
    assert after["chain"].anchors == before["chain"].anchors
    model.broken = False
    again = session.step(noise(2, 3))
    assert again.consolidated == (0, 1, 2, 3, 6, 7)
    assert all(frame.valid for frame in again.frames)


class FirstFrameFails(Pi3):
    """Fault injection: the first frame of every prediction has no depth while told so."""

    broken = False

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None) -> Prediction:
        prediction = super().predict(decoded, frames)
        if self.broken:
            prediction.depth[:, 0] = torch.nan
        return prediction


def test_the_first_camera_of_a_map_is_its_origin_also_where_the_network_has_it_elsewhere() -> None:
    model = tiny("pi3")[0]
    images = noise(3, family="pi3")
    with torch.inference_mode():
        raw = model.predict(model.decode(model.encode(images[None]), Dense())).world_from_camera[0].double().numpy()
    assert np.abs(raw[0] - np.eye(4)).max() > 0.01, "the network's own origin is not the first camera"
    frames = StreamSession(model).step(images, ids=[50, 51, 52]).frames
    np.testing.assert_allclose(frames[0].world_from_camera, np.eye(4), atol=1e-6)
    for frame, pose in zip(frames, raw, strict=True):
        np.testing.assert_allclose(frame.world_from_camera, np.linalg.inv(raw[0]) @ pose, atol=1e-4)


def test_a_first_frame_that_failed_is_neither_origin_nor_anchor() -> None:
    model = variant("pi3", FirstFrameFails)
    session = StreamSession(model)
    model.broken = True
    begun = session.step(noise(3, family="pi3"))
    model.broken = False
    assert [frame.valid for frame in begun.frames] == [False, True, True]
    np.testing.assert_allclose(begun.frames[1].world_from_camera, np.eye(4), atol=1e-6)
    assert session.step(noise(2, 1, "pi3")).support == (1, 2)
    assert session.step(noise(2, 2, "pi3")).support == (1, 4)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((1, 3, *HW), np.int64), "images of type torch.int64; expected uint8, or floats"),
        (np.zeros((1, 3, *HW), np.uint16), "images of type torch.uint16; expected uint8, or floats"),
        (torch.zeros(1, 3, *HW, dtype=torch.bool), "images of type torch.bool; expected uint8, or floats"),
        (np.full((1, 3, *HW), 255.0), r"reach from 255 to 255; expected \[0, 1\]; divide 0 to 255 by 255"),
        (np.full((1, 3, *HW), -0.5, np.float32), r"reach from -0.5 to -0.5; expected \[0, 1\]"),
        (torch.full((1, 3, *HW), torch.nan), "not finite"),
        (torch.zeros(1, 3, 42, 55), "55x42; both sides must be multiples of the patch, 14 pixels"),
        (torch.zeros(0, 3, *HW), r"n >= 1, got shape \(0, 3, 42, 56\)"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_pictures_that_are_none_are_refused_and_change_nothing(images: Any, told: str, begun: bool) -> None:
    session = StreamSession(tiny("da3")[0])
    if begun:
        session.step(noise(2))
        if images.shape[-1] != HW[1]:
            told = "55x42 in a session of 56x42"
    before = snapshot(session)
    with pytest.raises(ImageError, match=told):
        session.step(images)
    assert snapshot(session) == before
    assert all(frame.valid for frame in session.step(noise(2, 1)).frames)


@pytest.mark.parametrize("ids", [[3], [3, 3], [4, 3], [1, 2], [3, 4, 5]])
def test_ids_that_do_not_ascend_are_refused_and_change_nothing(ids: list[int]) -> None:
    session = StreamSession(tiny("da3")[0])
    session.step(noise(2))
    before = snapshot(session)
    with pytest.raises(ImageError, match="for 2 frames; expected 2 ascending ids from 2 on"):
        session.step(noise(2, 1), ids=ids)
    assert snapshot(session) == before
    assert [frame.frame_id for frame in session.step(noise(2, 1), ids=[3, 7]).frames] == [3, 7]
