"""pi3 and Pi3X against their references' numbers, and the pieces of their heads."""

from __future__ import annotations

import math

import pytest
import torch

from spark3r_core.attention.plan import BlockCausal, Dense
from spark3r_core.models.pi3_heads import fit_intrinsics, nearest_rotation
from tests.core.models.reference_fixture import RecordingPlan, assert_all_close, error, recorded_outputs, seeded
from tests.core.models.released import forward, tiny


@pytest.mark.parametrize("family", ["pi3", "pi3x"])
def test_all_frames(family: str) -> None:
    model, fixture = tiny(family)
    assert_all_close(forward(model, fixture.images, Dense()).raw, fixture.named("output."))


@pytest.mark.parametrize("family", ["pi3", "pi3x"])
def test_a_single_frame_and_frames_that_see_only_the_past(family: str) -> None:
    model, fixture = tiny(family)
    assert_all_close(forward(model, fixture.images[:, :1], Dense()).raw, fixture.named("output_single."))
    causal = forward(model, fixture.images, BlockCausal([1] * fixture.images.shape[1]))
    assert_all_close(causal.raw, fixture.named("output_causal."))


@pytest.mark.parametrize("family", ["pi3", "pi3x"])
def test_intermediate_tensors(family: str) -> None:
    model, fixture = tiny(family)
    modules = {"patch_tokens": model.encoder, "camera_decoder": model.camera_decoder}
    modules |= {"point_decoder": model.point_decoder, "conf_decoder": model.conf_decoder}
    modules |= {f"decoder.{i}": block for i, block in enumerate(model.decoder)}
    plan = RecordingPlan(layer=0)
    with recorded_outputs(modules) as found:
        forward(model, fixture.images, plan)
    first_global = plan.cross_layers[0].name.removeprefix("decoder.")
    found |= {f"global_attn.{first_global}.{name}": t for name, t in plan.recorded.items()}
    assert_all_close(found, fixture.named("mid."))


@pytest.mark.parametrize("family", ["pi3", "pi3x"])
def test_reordered_frames_give_reordered_results(family: str) -> None:
    model, fixture = tiny(family)
    images = torch.cat([fixture.images, seeded(1, 2, 3, 42, 56)], 1)
    order = list(reversed(range(images.shape[1])))
    plain, moved = (forward(model, x, Dense()) for x in (images, images[:, order]))
    for name in ("local_points", "conf", "camera_poses", "points"):
        assert error(moved.raw[name], plain.raw[name][:, order]) < 5e-5, name
    assert error(moved.intrinsics, plain.intrinsics[:, order]) < 1e-4


def test_metric_scale_multiplies_lengths_and_nothing_else() -> None:
    model, fixture = tiny("pi3x")
    decoded = model.decode(model.encode(fixture.images), Dense())
    units, metres = model.predict(decoded), model.predict(decoded, metric=torch.tensor([2.0]))
    assert "metric" not in units.raw
    assert torch.equal(metres.depth, 2 * units.depth)
    assert torch.equal(metres.world_from_camera[..., :3, 3], 2 * units.world_from_camera[..., :3, 3])
    assert torch.equal(metres.world_from_camera[..., :3, :3], units.world_from_camera[..., :3, :3])
    assert torch.equal(metres.intrinsics, units.intrinsics)
    assert error(metres.raw["points"], 2 * units.raw["points"]) < 1e-6


def test_poses_need_no_dense_decoder() -> None:
    model, fixture = tiny("pi3")
    decoded = model.decode(model.encode(fixture.images), Dense())
    with recorded_outputs({"points": model.point_decoder, "confidence": model.conf_decoder}) as ran:
        poses = model.poses(decoded)
    assert ran == {}
    assert_all_close({"camera_poses": poses}, {"camera_poses": fixture.tensors["output.camera_poses"]})


def pinhole_points(focal: float, hw: tuple[int, int], depth: torch.Tensor) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(hw[0]) + 0.5, torch.arange(hw[1]) + 0.5, indexing="ij")
    rays = torch.stack([(u - hw[1] / 2) / focal, (v - hw[0] / 2) / focal, torch.ones(hw)], -1)
    return rays * depth[..., None]


def test_fitted_intrinsics_are_those_of_the_camera_that_made_the_points() -> None:
    depth = 1 + seeded(2, 30, 40)
    points = torch.stack([pinhole_points(f, (30, 40), d) for f, d in zip((25.0, 90.0), depth, strict=True)])
    intrinsics = fit_intrinsics(points, seeded(2, 30, 40))
    assert intrinsics[:, 0, 0].tolist() == pytest.approx([25.0, 90.0], rel=1e-5)
    assert torch.equal(intrinsics[:, 0, 0], intrinsics[:, 1, 1])
    assert intrinsics[:, :2, 2].tolist() == [[20.0, 15.0]] * 2


def test_fitted_intrinsics_ignore_points_without_confidence_and_noise_does_not_bias_them() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = pinhole_points(50.0, (60, 80), torch.full((60, 80), 3.0))
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=generator) * torch.tensor([1.0, 1.0, 0.0])
    assert float(fit_intrinsics(noisy[None], torch.ones(1, 60, 80))[0, 0, 0]) == pytest.approx(50.0, rel=0.02)
    wrong, weight = clean.clone(), torch.ones(1, 60, 80)
    wrong[:, :40] *= torch.tensor([-7.0, 3.0, 1.0])
    weight[:, :, :40] = 0.0
    assert float(fit_intrinsics(wrong[None], weight)[0, 0, 0]) == pytest.approx(50.0, rel=1e-4)


def test_points_of_no_camera_still_give_a_focal_length_within_bounds() -> None:
    mirrored = pinhole_points(50.0, (30, 40), torch.ones(30, 40)) * torch.tensor([-1.0, -1.0, 1.0])
    assert float(fit_intrinsics(mirrored[None], torch.ones(1, 30, 40))[0, 0, 0]) == pytest.approx(20 * 40)


def test_nearest_rotation_is_a_rotation_and_keeps_one() -> None:
    matrices = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(1))
    rotations = nearest_rotation(matrices)
    assert torch.allclose(rotations @ rotations.transpose(1, 2), torch.eye(3).expand(50, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(50), atol=1e-5)
    assert torch.allclose(nearest_rotation(2.5 * rotations), rotations, atol=1e-5)
    turn = math.pi / 3
    about_z = torch.tensor([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1.0]])
    assert torch.allclose(nearest_rotation(about_z[None])[0], about_z, atol=1e-6)
