"""A trained network gives the same answers in less time once its batch normalisation is part of its convolutions."""

from __future__ import annotations

import copy
import weakref

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hpcl.networks.base import Network

LARGEST_CHANGE_FRAC = 1e-3
"""Of the largest logit; the rounding of a CPU stays far below it."""


@torch.no_grad()
def without_batch_norm(network: Network, window_px: int) -> Network:
    """A copy of the network on the CPU, in evaluation mode, in which every convolution that batch normalisation follows scales and
    shifts by itself.

    What follows what is seen while the network looks at a window of noise, for modules do not say it. Where something other than its
    normalisation reads a convolution too, the answers differ, and the network itself is returned.
    """
    lean = copy.deepcopy(network).cpu().eval()
    noise = torch.Generator().manual_seed(0)
    window = {
        branch: torch.randn((1, len(bands), window_px, window_px), generator=noise)
        for branch, bands in network.settings.branches.items()
    }
    expected, pairs = _watched(lean, window)
    names = {module: name for name, module in lean.named_modules()}
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        lean.set_submodule(names[norm], rest)
    change = (lean(window).logits - expected).abs().max()
    return lean if bool(change <= LARGEST_CHANGE_FRAC * expected.abs().max()) else network


def _watched(network: Network, window: dict[str, Tensor]) -> tuple[Tensor, list[tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """The logits, and convolutions with the normalisation that is given what they made, in the order of the forward pass."""
    made: dict[int, tuple[nn.Conv2d, weakref.ref[Tensor]]] = {}  # weak, lest all maps be in memory at a time
    found: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def after(module: nn.Module, given: tuple[Tensor, ...], map_: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(map_)] = module, weakref.ref(map_)
        elif isinstance(module, nn.BatchNorm2d) and _absorbable(module) and given:
            convolution, made_map = made.get(id(given[0]), (None, lambda: None))
            if convolution is not None and made_map() is given[0]:
                found[module] = convolution

    hooks = [module.register_forward_hook(after) for module in network.modules()]
    logits = network(window).logits
    for hook in hooks:
        hook.remove()
    return logits, [(convolution, norm) for norm, convolution in found.items()]


def _absorbable(norm: nn.BatchNorm2d) -> bool:
    """Whether it scales and shifts by numbers that it keeps, and what more it does is known."""
    return type(norm) in (nn.BatchNorm2d, BatchNormAct2d) and norm.running_mean is not None
