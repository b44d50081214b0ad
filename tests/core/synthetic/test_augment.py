"""Degradation: deterministic, bounded, gentle enough to leave the scene recognisable; JPEG against the real one."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from spark3r_core.synthetic.augment import augment_images
from spark3r_core.synthetic.jpeg import jpeg_like
from spark3r_core.synthetic.sequence import sample_batch


@pytest.fixture(scope="module")
def clean() -> torch.Tensor:
    return sample_batch([1, 2, 3], 3, (72, 96), augment=False).images


def _degrade(images: torch.Tensor, seed: int, **options) -> torch.Tensor:
    return augment_images(images, torch.Generator().manual_seed(seed), **options)


def test_same_generator_same_bytes(clean: torch.Tensor) -> None:
    assert torch.equal(_degrade(clean, 5), _degrade(clean, 5))
    assert not torch.equal(_degrade(clean, 5), _degrade(clean, 6))


def test_input_is_left_alone_and_output_is_bounded(clean: torch.Tensor) -> None:
    before = clean.clone()
    for seed in range(8):
        out = _degrade(clean, seed)
        assert out.min() >= 0
        assert out.max() <= 1
    assert torch.equal(clean, before)


def test_scene_stays_recognisable(clean: torch.Tensor) -> None:
    correlations = []
    for seed in range(8):
        out = _degrade(clean, seed).mean(2).flatten(2)
        grey = clean.mean(2).flatten(2)
        a, b = out - out.mean(2, keepdim=True), grey - grey.mean(2, keepdim=True)
        correlations.append((a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2)))
    assert torch.cat(correlations).median() > 0.85


def test_frames_one_by_one_share_their_camera_but_not_their_noise(clean: torch.Tensor) -> None:
    frame = clean[:1, :1]
    time = torch.tensor([[3.0]])
    first = _degrade(frame, 9, times=time, noise_seed=0)
    second = _degrade(frame, 9, times=time, noise_seed=1)
    assert not torch.equal(first, second)
    assert (first - second).mean().abs() < 0.01
    assert torch.equal(first, _degrade(frame, 9, times=time, noise_seed=0))


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_matches_the_real_codec(clean: torch.Tensor, quality: int) -> None:
    image = (clean[0, 0] * 255).round()
    buffer = io.BytesIO()
    Image.fromarray(image.byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    real = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1) / 255
    ours = jpeg_like(image[None] / 255, torch.tensor([float(quality)]))[0]
    loss = (real - image / 255).abs().mean()
    assert (ours - real).abs().mean() < 0.35 * loss
    assert (ours - image / 255).abs().mean() == pytest.approx(float(loss), rel=0.25)


def test_jpeg_handles_sizes_that_are_no_multiple_of_16() -> None:
    images = torch.rand(2, 3, 33, 50, generator=torch.Generator().manual_seed(0))
    out = jpeg_like(images, torch.tensor([50.0, 95.0]))
    assert out.shape == images.shape
    assert (out - images)[1].abs().mean() < (out - images)[0].abs().mean()
