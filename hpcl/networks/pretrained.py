"""Encoders that start from weights of others: timm's hub, or a file that params.yaml names by its SHA-256."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from hpcl.settings.model import ModelSettings, WeightFile


def encoder(settings: ModelSettings, name: str, bands: int, **options: Any) -> nn.Module:
    """A timm encoder of feature maps for ``bands`` bands, from the weights that the settings name for ``name``; what timm
    raises."""
    weights = settings.weights.get(name)

    def made(count: int, start: WeightFile | None) -> Any:
        return timm.create_model(
            settings.encoder,
            features_only=True,
            in_chans=count,
            pretrained=settings.pretrained or start is not None,
            pretrained_cfg_overlay={"file": start.file} if start else None,
            **options,
        )

    found: nn.Module = made(bands, weights)
    if weights and bands != 3 and weights.stem != "repeat":  # which is what timm does
        with torch.no_grad():
            if weights.stem == "mean":
                filters = _stem(made(3, weights)).mean(1, keepdim=True) * 3 / bands
                _stem(found).copy_(filters.expand_as(_stem(found)))
            else:
                _stem(found).copy_(_stem(made(bands, None)))
    return found


def _stem(network: nn.Module) -> Tensor:
    """The filters ``(out, band, row, column)`` of the first convolution."""
    return next(module.weight for module in network.modules() if isinstance(module, nn.Conv2d))
