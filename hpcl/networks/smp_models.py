"""Baseline networks: any architecture of segmentation_models_pytorch on all bands stacked, under the same roof as HPCL-Net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpcl.networks import pretrained
from hpcl.networks.base import Network, Outputs
from hpcl.settings.model import SMP_STRIDE_PX, STACK, ModelError, ModelSettings, check_weights, smp_architecture


class SmpNetwork(Network):
    """An architecture as its library publishes it, with the project's encoder; it knows stacked bands and no contrast."""

    def __init__(self, settings: ModelSettings, classes: int, embedding_dim: int) -> None:
        super().__init__(settings, classes, embedding_dim)
        name = smp_architecture(settings)
        check_weights(settings)
        options: dict[str, Any] = {}
        if name in ("DeepLabV3", "DeepLabV3Plus"):
            options["encoder_output_stride"] = settings.output_stride
        try:
            self.body: Any = smp.create_model(
                name,
                encoder_name=f"tu-{settings.encoder}",
                encoder_weights="imagenet" if settings.pretrained else None,
                in_channels=sum(len(bands) for bands in settings.branches.values()),
                classes=classes,
                **options,
            )
            if STACK in settings.weights:
                self._start(settings)
        except (RuntimeError, OSError, ValueError, KeyError, NotImplementedError, TypeError, AssertionError) as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                f"{name} cannot be built with encoder '{settings.encoder}' ({first[0]}); choose another of the two."
            ) from error

    def _start(self, settings: ModelSettings) -> None:
        """Take the encoder's weights from a file."""
        bands = sum(len(names) for names in settings.branches.values())
        start = pretrained.encoder(settings, STACK, bands).state_dict()
        if absent := self.body.encoder.model.load_state_dict(start, strict=False).missing_keys:
            raise ValueError(f"{settings.weights[STACK].file} lacks {absent[0]}")

    def embed(self, bands: Mapping[str, Tensor]) -> NoReturn:
        """There are no embeddings to contrast."""
        raise ModelError(f"{self.settings.architecture} has no contrast; set contrastive.weight to 0.")

    def forward(self, bands: Mapping[str, Tensor], contrast: bool = False) -> Outputs:
        """Segment a batch of bands per branch, stacked."""
        if contrast:
            self.embed(bands)
        size = self.check_size(bands, SMP_STRIDE_PX)
        features = self.body.encoder(torch.cat([bands[name] for name in self.settings.branches], dim=1))
        logits = self.body.segmentation_head(self.body.decoder(features))
        if logits.shape[2:] != size:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return Outputs(logits, features[-1], None)

    def layers(self) -> dict[str, nn.Module]:
        """The one encoder of the stacked bands."""
        return {STACK: self.body.encoder}

    def contrast_head(self) -> Iterator[nn.Parameter]:
        """None: a baseline network has no contrast."""
        yield from ()

    def pixel_head(self) -> Iterator[nn.Parameter]:
        """All: a baseline network has no contrast."""
        yield from self.parameters()
