"""A trained network gives the same answers in less time once its batch normalisation is part of its convolutions."""

from __future__ import annotations

import copy

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hpcl.networks.base import Network

LARGEST_CHANGE_FRAC = 1e-3
"""Of the largest logit; rounding stays far below it, in whatever precision a device multiplies."""


@torch.no_grad()
def without_batch_norm(network: Network, window_px: int) -> Network:
    """A copy of the network, in evaluation mode, in which every convolution that batch normalisation follows scales and shifts by
    itself.

    What follows what is seen while the network looks at noise, for modules do not say it. Where something other than its
    normalisation reads a convolution too, the answers differ, and the network itself is returned.
    """
    lean = copy.deepcopy(network).eval()
    noise = torch.Generator().manual_seed(0)
    here = next(network.parameters()).device
    windows = {
        branch: torch.randn((2, len(bands), window_px, window_px), generator=noise).to(here)
        for branch, bands in network.settings.branches.items()
    }
    expected = network(windows).logits
    names = {module: name for name, module in lean.named_modules()}
    for convolution, norm in _pairs(lean, windows):
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        lean.set_submodule(names[norm], rest)
    change = (lean(windows).logits - expected).abs().max()
    return lean if bool(change <= LARGEST_CHANGE_FRAC * expected.abs().max()) else network


def _pairs(network: Network, windows: dict[str, Tensor]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the normalisation that is given what they made, in the order of the forward pass."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # with the map, lest another one get its id
    found: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def after(module: nn.Module, given: tuple[Tensor, ...], map_: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(map_)] = module, map_
        elif isinstance(module, nn.BatchNorm2d) and id(given[0]) in made:
            found[module] = made[id(given[0])][0]

    with nn.modules.module.register_module_forward_hook(after):
        network(windows)
    return [
        (convolution, norm) for norm, convolution in found.items() if type(norm) in (nn.BatchNorm2d, BatchNormAct2d)
    ]
