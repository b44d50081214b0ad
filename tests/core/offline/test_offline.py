from __future__ import annotations

import numpy as np
import pytest
import torch

from spark3r_core.attention.plan import Dense
from spark3r_core.errors import ImageError
from spark3r_core.models.da3 import DA3
from spark3r_core.offline.reconstruct import reconstruct, reconstruct_with_plan
from spark3r_core.tokens import Reduction
from tests.core.attention.tiny_da3 import IMAGE_HW, images, tiny_da3
from tools.reduction_baselines import NoGlobalAttention, UniformMerging


@pytest.fixture(scope="module")
def model() -> DA3:
    return tiny_da3()


def test_without_reduction_it_is_the_model_itself(model):
    pixels = images(5)
    result = reconstruct(model, pixels, Reduction.dense(), frames_per_chunk=2)
    with torch.no_grad():
        expected = model.predict(model.decode(model.encode(pixels[None]), Dense(), 0))
    assert len(result) == 5
    np.testing.assert_allclose(result.world_from_camera, expected.world_from_camera[0], atol=1e-5)
    np.testing.assert_allclose(result.intrinsics, expected.intrinsics[0], rtol=1e-5)
    np.testing.assert_allclose(result.depth, expected.depth[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.confidence, expected.confidence[0], atol=2e-3)
    assert result.world_from_camera.dtype == np.float64
    assert result.depth.shape == (5, *IMAGE_HW)
    assert result.confidence.dtype == np.float16


def test_factor_one_is_bit_identical_to_dense_through_the_whole_model(model):
    pixels = images(6)
    reduced = reconstruct(model, pixels)  # Spark3R on a short stream and a model without a table: factors are 1
    dense = reconstruct_with_plan(model, pixels, Dense())
    for name in ("world_from_camera", "intrinsics", "depth", "confidence"):
        assert np.array_equal(getattr(reduced, name), getattr(dense, name))


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("reduction", [Reduction.spark3r(), Reduction.fixed(1000, 1000)])
def test_one_and_two_frames_and_factors_beyond_the_frames(model, frames, reduction):
    result = reconstruct(model, images(frames), reduction)
    assert result.world_from_camera.shape == (frames, 4, 4)
    assert np.isfinite(result.depth).all()


def test_reduction_changes_the_result_and_chunks_do_not(model):
    pixels = images(7)
    reduction = Reduction.fixed(3, 2).with_(group_frames=3)
    whole = reconstruct(model, pixels, reduction, frames_per_chunk=100)
    parts = reconstruct(model, pixels, reduction, frames_per_chunk=3)
    np.testing.assert_allclose(parts.depth, whole.depth, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.world_from_camera, whole.world_from_camera, atol=1e-5)
    dense = reconstruct(model, pixels, Reduction.dense())
    assert not np.allclose(dense.world_from_camera, whole.world_from_camera, atol=1e-5)


@pytest.mark.parametrize("plan", [NoGlobalAttention(), UniformMerging()])
def test_baselines_run_through_the_same_door(model, plan):
    result = reconstruct_with_plan(model, images(4), plan)
    assert np.isfinite(result.depth).all()


def test_uint8_tensors_arrays_and_lazy_iterables_give_the_same_result(model):
    pixels = (images(5) * 255).to(torch.uint8)
    expected = reconstruct(model, pixels, frames_per_chunk=2)
    arrays = (np.ascontiguousarray(frame.permute(1, 2, 0).numpy()) for frame in pixels)
    for source in (pixels.float() / 255, list(pixels), arrays):
        result = reconstruct(model, source, frames_per_chunk=2)
        assert np.array_equal(result.depth, expected.depth)


def test_the_reference_frame_is_the_world_and_its_keys_stay(model):
    pixels = images(5)
    moved = reconstruct(model, pixels, Reduction.fixed(1, 100), reference=3)
    kept = reconstruct(model, pixels, Reduction.fixed(1, 100).with_(always_kept=(0, 3)), reference=3)
    assert np.array_equal(moved.depth, kept.depth)
    assert not np.allclose(moved.depth, reconstruct(model, pixels, Reduction.fixed(1, 100)).depth)


def test_a_model_can_be_trained_after_it_was_run(model):
    """Tables that a model caches while it runs must not be inference tensors."""
    trained = tiny_da3()
    reconstruct(trained, images(2))
    trained.decode(trained.encode(images(2)[None]), Dense()).pose.sum().backward()
    assert next(trained.parameters()).grad is not None


def test_progress_and_breakdown_cover_the_run(model):
    calls: list[tuple[str, int, int | None]] = []
    result = reconstruct(
        model, iter(images(5)), Reduction.fixed(2, 2), frames_per_chunk=2, progress=lambda *call: calls.append(call)
    )
    assert [call for call in calls if call[0] == "encode"] == [("encode", n, None) for n in (2, 4, 5)]
    assert [call for call in calls if call[0] == "predict"] == [("predict", n, 5) for n in (2, 4, 5)]
    assert calls.index(("decode", 5, 5)) > calls.index(("encode", 5, None))
    assert set(result.seconds) == {"encode", "local", "match", "global", "heads", "total"}
    assert min(result.seconds.values()) > 0
    assert sum(result.seconds.values()) <= 2 * result.seconds["total"] + 1e-6
    assert result.peak_bytes > 2**20


def test_the_models_own_chunking_is_put_back_even_after_an_error(model):
    model.frames_per_chunk = 5
    try:
        with pytest.raises(ImageError):
            reconstruct(model, torch.rand(2, 3, 25, 36))
        assert model.frames_per_chunk == 5
    finally:
        model.frames_per_chunk = None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.rand(0, 3, *IMAGE_HW), "at least one"),
        ([], "at least one"),
        (torch.rand(3, *IMAGE_HW), r"expected \(S, 3, H, W\)"),
        (torch.rand(2, 3, *IMAGE_HW) * 255, r"lie in \[0, 1\]"),
        (torch.full((2, 3, *IMAGE_HW), float("nan")), r"lie in \[0, 1\]"),
        (torch.ones(2, 3, *IMAGE_HW, dtype=torch.int64), "expected uint8"),
        ([torch.rand(3, 24, 36), torch.rand(3, 24, 42)], "frame 1 is 42x24"),
        ([np.zeros((24, 36), np.uint8)], r"\(H, W, 3\) uint8"),
        (["frame.png"], "frame 0 is str"),
        (torch.rand(2, 3, 25, 36), "multiples of 6"),
    ],
)
def test_unusable_frames_are_refused_clearly(model, wrong, message):
    with pytest.raises(ImageError, match=message):
        reconstruct(model, wrong)


def test_a_reference_that_does_not_exist_is_refused(model):
    with pytest.raises(ImageError, match="there are 2 frames"):
        reconstruct(model, images(2), reference=2)
