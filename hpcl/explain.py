"""Grad-CAM per branch and after fusion (Selvaraju et al., ICCV 2017, arXiv 1610.02391), with its controls.

The score is the landslide logit summed over a fixed mask. A map that looks the same for random weights explains
nothing (Adebayo et al. 2018, arXiv 1810.03292), so every map comes with that of an untrained network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor, nn

from hpcl.core.records import AttentionShares
from hpcl.networks.base import Network
from hpcl.networks.store import build


class _LandslideScore(nn.Module):
    """Captum wants tensors in and one number per sample out: the landslide logit over background, summed over a mask."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        *bands, mask = inputs
        logits = self.network(dict(zip(self.network.settings.branches, bands, strict=True))).logits
        return ((logits[:, 1:].logsumexp(1) - logits[:, 0]) * mask).sum((1, 2))


def grad_cam(
    network: Network, bands: Mapping[str, Tensor], mask: Float[Tensor, "batch height width"]
) -> dict[str, Float[Tensor, "batch height width"]]:
    """Attention per branch and fused, >= 0, largest value 1 per window (0 everywhere where all weights are negative).

    Hooks are captum's and are gone when it returns.
    """
    score = _LandslideScore(network.eval())
    inputs = (*bands.values(), mask)
    out = {}
    for name, layer in network.layers().items():
        cam = LayerGradCam(score, layer).attribute(inputs, relu_attributions=True)
        cam = cam[-1] if isinstance(cam, tuple | list) else cam
        cam = F.interpolate(cam.detach(), size=mask.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        out[name] = cam / cam.amax((1, 2), keepdim=True).clamp_min(1e-12)
    return out


def untrained(network: Network, seed: int) -> Network:
    """The same network with random weights and fresh statistics: the control."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(network.settings, network.classes, network.embedding_dim).eval()


def boundary_zone(
    landslide: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_], block_px: int
) -> npt.NDArray[np.bool_]:
    """Pixels within one block (a hyper-pixel's side) of a landslide boundary; unknown ground has none."""
    ground = known & ~landslide
    size = 2 * block_px + 1
    near_slide = ndimage.maximum_filter(landslide.view(np.uint8), size=size) > 0
    near_ground = ndimage.maximum_filter(ground.view(np.uint8), size=size) > 0
    return near_slide & near_ground & known


@dataclass
class Shares:
    """Share of attention that falls into the boundary zone, beside the zone's share of the ground: above it, a map
    seeks boundaries; at it, the map is indifferent to them."""

    inside: float = 0.0
    total: float = 0.0
    zone_px: int = 0
    known_px: int = 0
    blank: int = 0

    def add(self, cam: npt.NDArray[np.float32], zone: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> None:
        """Count one window ``(row, column)``."""
        self.inside += float(cam[zone].sum())
        self.total += float(cam[known].sum())
        self.zone_px += int(zone.sum())
        self.known_px += int(known.sum())
        self.blank += int(not cam.any())

    def facts(self) -> AttentionShares:
        """The shares, None where there was nothing to share."""
        return AttentionShares(
            boundary_attention_frac=self.inside / self.total if self.total else None,
            boundary_ground_frac=self.zone_px / self.known_px if self.known_px else None,
            blank_windows=self.blank,
        )
