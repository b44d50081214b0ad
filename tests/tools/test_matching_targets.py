"""Soft targets of the attention supervision: what they fetch is the position itself."""

import torch

from tools.training.matching import match_patches, patch_centres, surrounding, window_pairs
from tools.training.optimiser import CAMERA_RATE, Optimiser
from tools.training.supervised import AttentionLosses, SupervisedDense, attention_loss


def test_shares_of_the_surrounding_centres_give_the_position_back() -> None:
    row, column = patch_centres(48, 60, 12, torch.device("cpu"))
    centres = torch.stack([column, row], -1) + 0.5
    uv = torch.tensor([[20.0, 30.0], [6.5, 6.5], [31.7, 18.2], [53.0, 41.0]])
    corners, shares = surrounding(uv, (4, 5), 12)
    assert torch.allclose((centres[corners] * shares[..., None]).sum(-2), uv.clamp(max=54.5), atol=1e-4)
    assert torch.allclose(shares.sum(-1), torch.ones(4))


def test_positions_outside_the_outermost_centres_take_the_nearest() -> None:
    corners, shares = surrounding(torch.tensor([[0.1, 0.1], [59.9, 47.9]]), (4, 5), 12)
    assert corners[torch.arange(2), shares.argmax(-1)].tolist() == [0, 19]


def test_the_camera_decoder_learns_at_its_own_rate() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.ModuleDict({"cam_dec": torch.nn.Linear(4, 4), "blocks": torch.nn.ModuleList()})
            self.model["blocks"].append(torch.nn.Linear(4, 4))

    optimiser = Optimiser([Net()], 1e-3, 0.0)
    optimiser.set_learning_rate(2e-3)
    assert [group["lr"] for group in optimiser.adam.param_groups] == [2e-3, 2e-3, 2e-3 * CAMERA_RATE]
    assert optimiser.muon.param_groups[0]["lr"] == 2e-3
    assert len(optimiser.muon.param_groups[0]["params"]) == 1


def test_attention_that_follows_the_shares_finds_the_position() -> None:
    """Queries and keys made so that the attention is exactly the bilinear shares, and then so that it is uniform."""
    wall = torch.full((1, 2, 48, 72), 4.0)
    pose = torch.eye(4).repeat(1, 2, 1, 1)
    pose[0, 1, 0, 3] = 0.3  # 4.5 pixels at a focal length of 60
    intrinsics = torch.tensor([[60.0, 0, 36], [0, 60, 24], [0, 0, 1]]).expand(1, 2, 3, 3)
    matches = match_patches(wall, pose, intrinsics, 12, window_pairs(2))
    patches = matches.centres.shape[0]
    logits = torch.full((1, 2, patches, patches), 1e-9)
    for pair, (first, _) in enumerate(matches.pairs):
        logits[:, first] = logits[:, first].scatter_add(-1, matches.corners[:, pair], matches.shares[:, pair])
    plan = SupervisedDense()
    queries = torch.arange(patches)

    def found(q: torch.Tensor) -> AttentionLosses:
        q = (q * patches**0.5)[:, None].expand(-1, 2, -1, -1, -1)
        k = torch.eye(patches).expand(1, 2, 2, -1, -1)
        plan.kept = [(q, k), (q, k)]
        return attention_loss(plan, matches, queries)

    exact, blind = found(logits.log()), found(torch.zeros_like(logits))
    assert exact.position < 1e-4
    assert blind.position > 0.5
    assert exact.pairwise < blind.pairwise
