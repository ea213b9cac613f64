"""A network that maps without its batch normalisation says what it said with it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_infer import SETTINGS
from torch import nn

from hpcl.inference.without_batch_norm import without_batch_norm
from hpcl.networks import store
from hpcl.networks.base import Network, Outputs
from hpcl.networks.hpcl_net import HPCLNet

PX = 64


def lived_in(network: Network) -> Network:
    """With batch statistics and weights of normalisation as a training leaves them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network.eval()


def windows() -> dict[str, torch.Tensor]:
    return {branch: torch.randn(3, len(bands), PX, PX) for branch, bands in SETTINGS.branches.items()}


def norms(network: Network) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": "decision"},
        {"encoder": "test_efficientnet"},  # whose normalisation activates too
        {"architecture": "DeepLabV3Plus"},
        {"architecture": "Unet"},
    ],
)
def test_the_same_answers_without_what_was_absorbed(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = lived_in(store.build(replace(SETTINGS, **changes), 3, 4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lean, given = without_batch_norm(network, PX), windows()
    assert norms(lean) <= norms(network) / 10
    with torch.no_grad():
        torch.testing.assert_close(lean(given).logits, network(given).logits, rtol=1e-4, atol=1e-4)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


class ReadsTwice(HPCLNet):
    """Its answer looks at what a convolution made and at that normalised."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.convolution, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, bands: Any, contrast: bool = False) -> Outputs:
        made = self.convolution(bands["optical"])
        return Outputs(self.norm(made) + made, made, None)


def test_a_network_whose_convolution_is_read_twice_stays_as_it_is() -> None:
    network = lived_in(ReadsTwice(SETTINGS, 3, 4))
    assert without_batch_norm(network, PX) is network


def test_normalisation_that_keeps_no_statistics_stays() -> None:
    network = HPCLNet(SETTINGS, 3, 4).eval()
    first = next(name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d))
    width = network.get_submodule(first).num_features
    network.set_submodule(first, nn.BatchNorm2d(int(width), track_running_stats=False))
    lean = without_batch_norm(lived_in(network), PX)
    assert isinstance(lean.get_submodule(first), nn.BatchNorm2d)
    assert norms(lean) < norms(network)
