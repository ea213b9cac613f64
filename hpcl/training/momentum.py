"""The momentum encoder: an exponential moving average (EMA) of a network (MoCo, He et al. 2020, arXiv 1911.05722)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hpcl.networks.base import Network


class MomentumEncoder(nn.Module):
    """A copy of the network that follows it slowly: the source of the keys (MoCo, eq. 2).

    Parameters **and** floating buffers (BatchNorm's statistics) are averaged, and the copy always runs in evaluation
    mode: so its keys depend on nothing but their own window (MoCo's encoder sees the batch through BatchNorm and must
    shuffle it), and the copy is a network one can predict with. Our choice.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> MomentumEncoder:
        """The copy stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: Network, momentum: float, step: int) -> None:
        """Move towards ``network``; in early steps faster: momentum is ``min(1 - 1/(step+1), momentum)``."""
        m = min(1 - 1 / (step + 1), momentum)
        torch._foreach_lerp_(_floating(self.network), _floating(network), 1 - m)


def _floating(network: nn.Module) -> list[Tensor]:
    return [t for t in [*network.parameters(), *network.buffers()] if t.is_floating_point()]
