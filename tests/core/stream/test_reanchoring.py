"""A stream whose memory begins anew at its newest frame: one map, and in each part what a fresh session would say."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.errors import SettingsError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.da3 import DA3, DA3Config
from spark3r_core.models.interface import Decoded, Encoded
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.session import StreamSession

SIZES = DA3Config(32, 5, 2, 1, (1, 2, 3, 4), 8, (8, 8, 8, 8), img_size=56, with_rays=False, with_cam_enc=False)


@pytest.fixture(scope="module")
def model() -> DA3:
    torch.manual_seed(3)
    model = DA3(SIZES)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def noise(frames: int, seed: int = 0) -> Tensor:
    return torch.rand(frames, 3, 42, 56, generator=torch.Generator().manual_seed(seed))


def relative(a: FrameEstimate, b: FrameEstimate) -> np.ndarray:
    return np.linalg.inv(a.world_from_camera) @ b.world_from_camera


def test_a_new_anchors_frames_are_what_a_fresh_session_says_in_one_scale(model: DA3) -> None:
    images = noise(16)
    session = StreamSession(model, MemoryConfig(max_new_frames=4, reanchor_every=7))
    results = [session.step(part) for part in images.split(4)]
    frames = [frame for result in results for frame in result.frames]
    assert [frame.frame_id for frame in frames] == list(range(16))
    assert results[2].support == (7,), "the newest frame is the new anchor"
    assert set(results[2].evicted) >= {0}
    fresh = StreamSession(model, MemoryConfig(max_new_frames=5, reanchor_every=0)).step(images[7:12]).frames
    scale = np.median(frames[7].depth / fresh[0].depth)
    for ours, theirs in zip(frames[8:12], fresh[1:], strict=True):
        expected = np.linalg.inv(fresh[0].world_from_camera) @ theirs.world_from_camera
        expected[:3, 3] *= scale
        np.testing.assert_allclose(relative(frames[7], ours), expected, atol=2e-3)
        np.testing.assert_allclose(ours.depth, theirs.depth * scale, rtol=2e-2)


def test_the_anchor_stays_where_the_map_has_it(model: DA3) -> None:
    session = StreamSession(model, MemoryConfig(max_new_frames=4, reanchor_every=7))
    results = [session.step(part) for part in noise(12).split(4)]
    shift = results[2].support_shift
    assert shift is not None
    assert shift == pytest.approx((0.0, 0.0), abs=1e-4)


def test_bytes_stay_flat_over_many_anchors(model: DA3) -> None:
    session = StreamSession(model, MemoryConfig(max_pages=4, max_new_frames=2, reanchor_every=5))
    results = [session.step(part) for part in noise(120, seed=1).split(2)]
    assert {result.memory_limit_bytes for result in results} == {results[0].memory_limit_bytes}
    assert all(result.memory_used_bytes <= result.memory_limit_bytes for result in results)
    assert all(np.isfinite(frame.world_from_camera).all() for result in results for frame in result.frames)


class NotFinite(DA3):
    """Fault injection: while told so, poses of no window are finite."""

    broken = False

    def decode(self, encoded: Encoded, *args: object, **kwargs: object) -> Decoded:  # type: ignore[override]
        decoded = super().decode(encoded, *args, **kwargs)  # type: ignore[arg-type]
        if not self.broken:
            return decoded
        return Decoded(decoded.taps, decoded.pose * torch.nan, decoded.image_hw, decoded.extras)


def test_a_new_anchor_that_cannot_be_tied_is_tried_again(model: DA3) -> None:
    faulty = NotFinite(model.config)
    faulty.load_state_dict(model.state_dict())
    session = StreamSession(faulty.eval(), MemoryConfig(max_new_frames=4, reanchor_every=7))
    for part in noise(8).split(4):
        session.step(part)
    remembered = session.remembered
    faulty.broken = True
    broken = session.step(noise(4, seed=4))
    assert broken.support == (7,)
    assert not any(frame.valid for frame in broken.frames)
    assert (broken.admitted, broken.evicted) == ((), ())
    assert session.remembered == remembered, "the old memory stays until the new one has begun"
    faulty.broken = False
    after = session.step(noise(4, seed=5))
    assert after.support == (7,)
    assert [frame.frame_id for frame in after.frames] == [12, 13, 14, 15]
    assert all(frame.valid for frame in after.frames)
    assert session.remembered == {7, 12, 13, 14, 15}


@pytest.mark.parametrize("fill", ["causal", "consolidate"])
def test_only_a_supported_memory_gets_new_anchors(fill: str) -> None:
    with pytest.raises(SettingsError, match="reanchor_every is 8"):
        MemoryConfig(fill=fill, reanchor_every=8)  # type: ignore[arg-type]
