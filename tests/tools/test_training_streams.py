"""Phase two of training runs the network as a session does, and learns through what the session would remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.attention.plan import Dense
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.bundled import build_bundled
from spark3r_core.models.da3 import DA3
from spark3r_core.models.interface import Encoded, Prediction
from spark3r_core.stream.estimates import FrameEstimate
from spark3r_core.stream.session import StreamSession
from tests.tools.tiny_training import TINY, sliding, tiny_trainer
from tools.training import checkpoint
from tools.training.curriculum import ASPECTS, PAIRS_FRAMES, plan_step
from tools.training.schedule import MAX_NEW_FRAMES, Schedule, cut, draw_schedule, whole
from tools.training.streamed import SupervisedStream, decode_window
from tools.training.trainer import TrainConfig
from tools.training.validation import HeldOut, validate

TOLERANCE = 1e-4
SIZES = (3, 1, 4, 2, 2)


@pytest.fixture(scope="module")
def model() -> DA3:
    torch.manual_seed(0)
    model = build_bundled(TINY)
    with torch.no_grad():  # a fresh decoder answers no motion to everything: make it answer to what it sees
        model.model.cam_dec.fc_t.weight.mul_(30)
        model.model.cam_dec.fc_qvec.weight.mul_(10)
    return model.eval()


@torch.no_grad()
def predictions(model: DA3, images: Tensor, schedule: Schedule) -> tuple[list[Prediction], list[list[int]]]:
    """What the training plan gives for the new frames of each window of images (S, 3, H, W), and pages after it."""
    encoded, plan = model.encode(images[None]), SupervisedStream(schedule)
    shown, pages = [], []
    for window in schedule.windows:
        decoded = decode_window(model, encoded, window, plan)
        shown.append(model.predict(decoded, slice(len(window.support), len(window.frames))))
        pages.append(plan.pages(0))
    return shown, pages


def session_windows(
    model: DA3, images: Tensor, sizes: Sequence[int], config: MemoryConfig
) -> tuple[list[list[FrameEstimate]], list[list[int]]]:
    session = StreamSession(model, config, refine=False)  # what the network says, not what pixels mend
    shown, pages = [], []
    for part in images.split(list(sizes)):
        shown.append(session.step(part).frames)
        assert session.memory is not None
        pages.append(session.memory.frames(0))
    return shown, pages


def largest_difference(estimates: Sequence[FrameEstimate], prediction: Prediction) -> float:
    pose = np.stack([estimate.world_from_camera for estimate in estimates]) - prediction.world_from_camera[0].numpy()
    depth = np.stack([estimate.depth for estimate in estimates]) - prediction.depth[0].numpy()
    return max(np.abs(pose).max(), np.abs(depth).max())


@pytest.mark.parametrize(("max_pages", "recent"), [(20, 1), (20, 0), (4, 1), (3, 1)])
def test_windows_are_those_of_the_session(model: DA3, max_pages: int, recent: int) -> None:
    images = sliding(1, sum(SIZES)).images[0]
    config = MemoryConfig(max_pages=max_pages, support_recent=recent, reanchor_every=0)
    expected, expected_pages = session_windows(model, images, SIZES, config)
    actual, pages = predictions(model, images, cut(SIZES, max_pages, recent))
    assert pages == expected_pages
    for estimates, prediction in zip(expected, actual, strict=True):
        assert largest_difference(estimates, prediction) < TOLERANCE
    with_less, _ = predictions(model, images, cut(SIZES, 1, recent))
    assert largest_difference(expected[-1], with_less[-1]) > 5 * TOLERANCE  # the test sees what the memory does


def test_a_reanchored_stream_is_a_new_link_of_the_sessions_chain(model: DA3) -> None:
    """The session's link is in the map's gauge: depths differ by one factor, turns between frames not at all."""
    images = sliding(1, sum(SIZES)).images[0]
    expected, expected_pages = session_windows(model, images, SIZES, MemoryConfig(max_pages=20, reanchor_every=7))
    schedule = cut(SIZES, 20, reanchored=3)
    assert [window.frames for window in schedule.windows[2:]] == [(0, 3, 4, 5, 6, 7), (7, 8, 9), (7, 9, 10, 11)]
    actual, pages = predictions(model, images, schedule)
    for index in (3, 4):
        assert pages[index] == expected_pages[index]
        ratio = np.stack([e.depth for e in expected[index]]) / actual[index].depth[0].numpy()
        assert ratio.max() / ratio.min() - 1 < TOLERANCE
        first, second = (e.world_from_camera[:3, :3] for e in expected[index])
        turned = actual[index].world_from_camera[0, :, :3, :3].numpy()
        assert np.abs(first.T @ second - turned[0].T @ turned[1]).max() < TOLERANCE


def test_one_window_is_dense_attention(model: DA3) -> None:
    encoded, schedule = model.encode(sliding(2, 3).images), whole(3)
    windowed = decode_window(model, encoded, schedule.windows[0], SupervisedStream(schedule))
    assert torch.allclose(windowed.pose, model.decode(encoded, Dense()).pose, atol=1e-5)


@pytest.mark.parametrize(("pages", "reaches"), [(8, True), (1, False)])
def test_later_windows_teach_earlier_ones_through_their_pages(model: DA3, pages: int, reaches: bool) -> None:
    """Frame 1 is never run again: only its pages carry a gradient from the last window to its tokens."""
    encoded = model.encode(sliding(1, 6).images)
    tokens = encoded.tokens.detach().requires_grad_()
    schedule = cut((3, 2, 1), pages)
    plan = SupervisedStream(schedule)
    for window in schedule.windows:
        decoded = decode_window(model, Encoded(tokens, encoded.image_hw), window, plan)
    decoded.pose[:, -1].sum().backward()
    assert tokens.grad is not None
    assert (tokens.grad[:, 1].abs().max() > 0) == reaches


def test_schedules_of_training_streams() -> None:
    reanchored = anchor_only = 0
    sizes = []
    for seed in range(300):
        frames = int(np.random.default_rng(seed).integers(1, 13))
        schedule = draw_schedule(frames, np.random.default_rng(seed))
        assert schedule == draw_schedule(frames, np.random.default_rng(seed))
        assert [frame for window in schedule.windows for frame in window.new] == list(range(frames))
        assert 1 <= schedule.pages <= frames
        sizes += [len(window.new) for window in schedule.windows[:-1]]
        anchor = 0
        for index, window in enumerate(schedule.windows):
            assert 1 <= len(window.new) <= MAX_NEW_FRAMES
            assert window.begins or index
            if index and window.begins:
                anchor = window.new[0] - 1
                assert window.support == (anchor,)
            assert window.frames[0] == anchor
            assert set(window.support) <= {anchor, window.new[0] - 1}
        reanchored += sum(window.begins for window in schedule.windows) > 1
        anchor_only += max(len(window.support) for window in schedule.windows) == 1
    assert 2.7 < np.mean(sizes) < 3.2
    assert 40 < reanchored < 120
    assert 20 < anchor_only < 120


def test_phase_two_keeps_pairs_alive_and_the_frame_budget() -> None:
    rng = np.random.default_rng(1)
    steps = [plan_step(2 * PAIRS_FRAMES, 24, rng, 8, ASPECTS, "streams") for _ in range(400)]
    streams = [step for step in steps if step.schedule is not None]
    assert 0.58 < len(streams) / len(steps) < 0.72
    assert {step.frames * step.batch for step in streams} == {24}
    assert any(step.kind == "pair" for step in steps)


def test_a_checkpoint_without_a_phase_is_bidirectional() -> None:
    old = {name: value for name, value in asdict(TrainConfig(phase="streams")).items() if name != "phase"}
    assert TrainConfig(**old).phase == "bidirectional"


def test_a_resumed_stream_step_is_the_same(tmp_path: Path) -> None:
    schedule = cut((1, 2, 3), 2, reanchored=2)
    straight = tiny_trainer(phase="streams")
    straight.step(sliding(2, 6), 0.0, straight.rng(), schedule)
    checkpoint.save(tmp_path / "last.pt", straight.state_dict())
    expected = straight.step(sliding(2, 6), 0.0, straight.rng(), schedule)
    assert np.isfinite(list(expected.values())).all()
    assert {"stream_loss", "stream_depth", "stream_attention", "stream_degrees"} < set(expected)
    state = checkpoint.load(tmp_path / "last.pt")
    resumed = tiny_trainer(**state["train_config"])
    resumed.load_state_dict(state)
    assert resumed.config.phase == "streams"
    assert resumed.step(sliding(2, 6), 0.0, resumed.rng(), schedule) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_validation_reports_streams() -> None:
    numbers = validate(tiny_trainer(), HeldOut(sliding(2, 3), sliding(2, 12)))
    assert np.isfinite([numbers[f"stream_{name}"] for name in ("degrees", "shift", "direction")]).all()
    assert {"pair_abs_rel", "window_degrees"} < set(numbers)
