"""Streams through the real memory: equal to the causal oracle when nothing is lost, bounded and sane when it is."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.attention.plan import BlockCausal
from spark3r_core.errors import ImageError, MemoryBudgetError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.da3 import DA3, DA3Config
from spark3r_core.models.interface import Decoded, Encoded, Prediction
from spark3r_core.stream.session import StreamSession
from tests.core.models.reference_fixture import TOLERANCE, ReferenceFixture, error
from tests.core.stream.dense_session import dense_session

MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@pytest.fixture(scope="module")
def fixture() -> ReferenceFixture:
    return ReferenceFixture("da3_tiny_a")


@pytest.fixture(scope="module")
def model(fixture: ReferenceFixture) -> DA3:
    sizes = dict(fixture.constructor)
    config = DA3Config(
        embed_dim=sizes["embed_dim"],
        depth=sizes["depth"],
        num_heads=sizes["num_heads"],
        alt_start=sizes["alt_start"],
        out_layers=tuple(sizes["out_layers"]),
        head_features=sizes["head_features"],
        head_out_channels=tuple(sizes["head_out_channels"]),
        img_size=sizes["img_size"],
        cam_enc_heads=sizes["cam_enc_heads"],
        cam_enc_depth=sizes["cam_enc_trunk"],
    )
    model = DA3(config)
    model.load_state_dict(fixture.state, strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def images(fixture: ReferenceFixture) -> Tensor:
    """The fixture's frames in [0, 1]; the reference was given normalised ones."""
    return fixture.images[0] * STD + MEAN


def noise(frames: int, seed: int = 0) -> Tensor:
    return torch.rand(frames, 3, 42, 56, generator=torch.Generator().manual_seed(seed))


def test_one_frame_windows_without_loss_equal_the_reference_causal_run(
    model: DA3, fixture: ReferenceFixture, images: Tensor
) -> None:
    session = StreamSession(model, MemoryConfig.causal(max_pages=16))
    frames = [session.step(images[i : i + 1]).frames[0] for i in range(len(images))]
    expected = fixture.named("output_causal.")
    depth = torch.tensor(np.stack([frame.depth for frame in frames]))[None]
    camera_from_world = torch.tensor(np.stack([np.linalg.inv(frame.world_from_camera) for frame in frames]))[None]
    intrinsics = torch.tensor(np.stack([frame.intrinsics for frame in frames]))[None]
    assert error(depth, expected["depth"]) < TOLERANCE
    assert error(camera_from_world[:, :, :3], expected["extrinsics"]) < TOLERANCE
    assert error(intrinsics, expected["intrinsics"]) < TOLERANCE


@pytest.mark.parametrize("windows", [[3, 1, 2], [1, 4, 1], [2, 2, 2]])
def test_longer_windows_without_loss_equal_a_block_causal_mask(model: DA3, windows: list[int]) -> None:
    frames = noise(sum(windows))
    session = StreamSession(model, MemoryConfig.causal(max_pages=60))
    got = [estimate for part in frames.split(windows) for estimate in session.step(part).frames]
    with torch.inference_mode():
        want = model.predict(model.decode(model.encode(frames[None]), BlockCausal(windows), reference=0))
    assert error(torch.tensor(np.stack([f.depth for f in got]))[None], want.depth) < TOLERANCE
    poses = torch.tensor(np.stack([f.world_from_camera for f in got]))[None]
    assert error(poses, want.world_from_camera) < TOLERANCE


@pytest.mark.parametrize("config", [MemoryConfig(max_pages=6), MemoryConfig(max_pages=9, support_recent=2)])
def test_support_frames_and_eviction_equal_the_dense_memory(model: DA3, config: MemoryConfig) -> None:
    paged, dense = StreamSession(model, config), dense_session(model, config, (42, 56))
    for step in range(12):
        frames = noise(1 + step % 4, seed=step)
        got, want = paged.step(frames), dense.step(frames)
        assert got.support == want.support
        for a, b in zip(got.frames, want.frames, strict=True):
            assert error(torch.tensor(a.depth), torch.tensor(b.depth)) < TOLERANCE
            assert error(torch.tensor(a.world_from_camera), torch.tensor(b.world_from_camera)) < TOLERANCE
    assert paged.memory is not None
    assert dense.memory is not None
    assert paged.memory.frames(0) == dense.memory.frames(0)
    assert len(paged.memory.frames(0)) == config.max_pages


@pytest.mark.parametrize(
    "config", [MemoryConfig(), MemoryConfig.causal(), MemoryConfig(support_recent=2, max_new_frames=3)]
)
def test_a_long_stream_stays_within_its_budget_and_keeps_its_anchor(model: DA3, config: MemoryConfig) -> None:
    full = StreamSession(model, config)
    full.step(noise(1))
    assert full.memory is not None
    window_bytes = (
        full.memory.limit_bytes
        * (config.max_new_frames + config.max_support_frames + 6)
        // (full.memory.budgets[0].slots)
    )
    limited = MemoryConfig(**{**config.__dict__, "max_bytes": window_bytes + 200_000})
    session = StreamSession(model, limited)
    limits = set()
    for step in range(30):
        result = session.step(noise(1 + step % 3, seed=step))
        assert result.memory_used_bytes <= result.memory_limit_bytes <= limited.max_bytes  # type: ignore[operator]
        limits.add(result.memory_limit_bytes)
        assert all(frame.valid for frame in result.frames)
    assert len(limits) == 1
    assert session.memory is not None
    newest = session.memory.frames(0)[-1]
    assert 0 in session.memory.frames(0)
    assert newest == sum(1 + step % 3 for step in range(30)) - 1
    assert len(session.memory.frames(0)) < 30


class BrokenDepth(DA3):
    """Fault injection: frames brighter than any image get a NaN depth."""

    poisoned = False

    def decode(self, encoded: Encoded, *args: object, **kwargs: object) -> Decoded:  # type: ignore[override]
        decoded = super().decode(encoded, *args, **kwargs)  # type: ignore[arg-type]
        if not self.poisoned:
            return decoded
        return Decoded(tuple(tap * torch.nan for tap in decoded.taps), decoded.pose, decoded.image_hw, decoded.extras)


def test_a_window_that_is_not_finite_leaves_no_trace(model: DA3) -> None:
    broken = BrokenDepth(model.config)
    broken.load_state_dict(model.state_dict())
    broken.eval()
    session = StreamSession(broken, MemoryConfig(max_pages=20))
    session.step(noise(3))
    assert session.memory is not None
    before = [session.memory.page(0, frame)[0].clone() for frame in session.memory.frames(0)]
    broken.poisoned = True
    result = session.step(noise(2, seed=1))
    assert [frame.valid for frame in result.frames] == [False, False]
    assert "depth is not finite" in str(result.frames[0].failure)
    broken.poisoned = False
    assert session.memory.frames(0) == [0, 1, 2]
    after = [session.memory.page(0, frame)[0] for frame in session.memory.frames(0)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(frame.valid for frame in session.step(noise(2, seed=2)).frames)


class FirstFrameFails(DA3):
    """Fault injection: the first frame of a window gets a NaN depth, the others are as they were."""

    poisoned = True

    def predict(self, decoded: Decoded, frames: slice | Sequence[int] | None = None) -> Prediction:
        prediction = super().predict(decoded, frames)
        if self.poisoned:
            prediction.depth[:, 0] = torch.nan
        return prediction


def test_no_frame_stays_without_the_one_that_carries_the_origin(model: DA3) -> None:
    broken = FirstFrameFails(model.config)
    broken.load_state_dict(model.state_dict())
    session = StreamSession(broken.eval())
    failed = session.step(noise(2))
    assert [frame.valid for frame in failed.frames] == [False, False]
    assert "origin" in str(failed.frames[1].failure)
    assert failed.admitted == ()
    broken.poisoned = False
    again, fresh = session.step(noise(3, seed=1)), StreamSession(model).step(noise(3, seed=1))
    assert again.admitted == (2, 3, 4), "the map begins where something could be kept: frame 2 is its anchor"
    assert fresh.admitted == (0, 1, 2)
    assert all(np.array_equal(a.depth, b.depth) for a, b in zip(again.frames, fresh.frames, strict=True))
    broken.poisoned = True
    later = session.step(noise(2, seed=2))  # with an anchor, one failed frame is one failed frame
    assert [frame.valid for frame in later.frames] == [False, True]
    assert later.support == (2, 4)
    assert session.step(noise(1, seed=3)).support == (2, 6)


def test_streams_are_repeatable(model: DA3) -> None:
    runs = []
    for _ in range(2):
        session = StreamSession(model)
        runs.append([session.step(noise(2, seed=i)).frames[-1].depth for i in range(4)])
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


def test_bytes_and_floats_give_the_same_result(model: DA3) -> None:
    raw = (noise(2) * 255).to(torch.uint8)
    a = StreamSession(model).step(raw).frames[1].depth
    b = StreamSession(model).step(raw.float() / 255).frames[1].depth
    assert np.array_equal(a, b)


def test_wrong_windows_are_refused_with_the_reason(model: DA3) -> None:
    session = StreamSession(model, MemoryConfig(max_new_frames=2))
    with pytest.raises(ImageError, match=r"\(n, 3, H, W\)"):
        session.step(torch.zeros(2, 42, 56))
    with pytest.raises(ImageError, match="takes 2"):
        session.step(noise(3))
    session.step(noise(1))
    with pytest.raises(ImageError, match="56x28 in a session of 56x42"):
        session.step(torch.rand(1, 3, 28, 56))
    with pytest.raises(MemoryBudgetError, match="at least"):
        StreamSession(model, MemoryConfig(max_bytes=1000)).step(noise(1))
