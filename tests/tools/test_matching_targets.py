"""Soft targets of the attention supervision: what they fetch is the position itself."""

import torch

from tools.training.matching import patch_centres, surrounding
from tools.training.optimiser import CAMERA_RATE, Optimiser


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
