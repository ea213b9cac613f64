"""HPCL-Net whole: encoders of the same kind for unlike data, coordinate attention where they meet, a decoder for pixels,
a projection for hyper-pixels, which the momentum encoder feeds to the queues (arXiv 2308.01251).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn

from hpcl.networks import pretrained
from hpcl.networks.base import Network, Outputs
from hpcl.settings.model import STACK, ModelError, ModelSettings, check_weights


class CoordinateAttention(nn.Module):
    """Coordinate attention (Hou et al., CVPR 2021, arXiv 2103.02907, eq. 4-8): a gate per row and one per column.

    The map is averaged along the width and along the height, both profiles are squeezed together, split again and
    become two gates in (0, 1): ``y[c, i, j] = x[c, i, j] * g_h[c, i] * g_w[c, j]``.
    """

    def __init__(self, channels: int, reduction: int = 32) -> None:
        super().__init__()
        squeezed = max(8, channels // reduction)
        self.squeeze = nn.Sequential(nn.Conv2d(channels, squeezed, 1), nn.BatchNorm2d(squeezed), nn.Hardswish())
        self.gate_h = nn.Conv2d(squeezed, channels, 1)
        self.gate_w = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The same map, gated."""
        height, width = x.shape[2:]
        rows = x.mean(3, keepdim=True)
        columns = x.mean(2, keepdim=True).transpose(2, 3)
        rows, columns = self.squeeze(torch.cat([rows, columns], dim=2)).split([height, width], dim=2)
        return x * self.gate_h(rows).sigmoid() * self.gate_w(columns.transpose(2, 3)).sigmoid()


class Fusion(nn.Sequential):
    """Feature maps of all branches -> one map: concatenate, attend (or not), 1x1 convolution."""

    def __init__(self, channels: Sequence[int], out_channels: int, attend: bool) -> None:
        total = sum(channels)
        super().__init__(
            CoordinateAttention(total) if attend else nn.Identity(),
            nn.Conv2d(total, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Join maps of the same height and width."""
        return super().forward(torch.cat(list(maps), dim=1))


class HPCLNet(Network):
    """Bands per branch -> class logits per pixel.

    The skip at stride 4 and the deepest map are fused; DeepLabv3+ (ASPP 6/12/18 at stride 16, twice that at 8) decodes.
    Height and width must be multiples of ``output_stride``.
    """

    def __init__(self, settings: ModelSettings, classes: int, embedding_dim: int) -> None:
        super().__init__(settings, classes, embedding_dim)
        bands = {name: len(names) for name, names in settings.branches.items()}
        if settings.fusion == "input":
            bands = {STACK: sum(bands.values())}
        self.encoders = nn.ModuleDict({name: _encoder(settings, name, count) for name, count in bands.items()})
        infos: list[Any] = [encoder.feature_info for encoder in self.encoders.values()]
        attend = settings.fusion == "coordinate_attention"
        self.fuse_skip = Fusion([i.channels()[0] for i in infos], settings.decoder_channels, attend)
        self.fuse_deep = Fusion([i.channels()[-1] for i in infos], settings.fused_channels, attend)
        rates = [rate * 16 // settings.output_stride for rate in (6, 12, 18)]
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=[0, 0, settings.decoder_channels, settings.fused_channels],
            encoder_depth=5,
            out_channels=settings.decoder_channels,
            atrous_rates=rates,
            output_stride=settings.output_stride,
            aspp_separable=True,
            aspp_dropout=settings.dropout,
        )
        self.head = nn.Conv2d(settings.decoder_channels, classes, 1)
        # Last, so that a network with contrast starts from the very weights of one without.
        self.project = nn.Sequential(
            nn.Conv2d(settings.fused_channels, settings.fused_channels, 1, bias=False),
            nn.BatchNorm2d(settings.fused_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(settings.fused_channels, embedding_dim, 1),
        )

    def encode(self, bands: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The fused skip map (stride 4) and the fused deepest map (stride ``output_stride``)."""
        features = self._features(bands)
        return self.fuse_skip([f[0] for f in features]), self.fuse_deep([f[-1] for f in features])

    def _features(self, bands: Mapping[str, Tensor]) -> list[list[Tensor]]:
        if self.settings.fusion == "input":
            bands = {STACK: torch.cat([bands[name] for name in self.settings.branches], dim=1)}
        return [encoder(bands[name]) for name, encoder in self.encoders.items()]

    def embed(self, bands: Mapping[str, Tensor]) -> Float[Tensor, "batch dim rows columns"]:
        """The contrast's embeddings alone, without decoding."""
        return self.project(self.fuse_deep([f[-1] for f in self._features(bands)]))

    def forward(self, bands: Mapping[str, Tensor], contrast: bool = False) -> Outputs:
        """Segment a batch; ``contrast`` asks for the embeddings as well."""
        size = self.check_size(bands, self.settings.output_stride)
        skip, deep = self.encode(bands)
        logits = self.head(self.decoder([skip, skip, skip, deep]))
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return Outputs(logits, deep, self.project(deep) if contrast else None)

    def layers(self) -> dict[str, nn.Module]:
        """Every encoder, and the fused map."""
        return dict(self.encoders.items()) | {"fused": self.fuse_deep}

    def contrast_head(self) -> Iterator[nn.Parameter]:
        """The projection's weights."""
        yield from self.project.parameters()

    def pixel_head(self) -> Iterator[nn.Parameter]:
        """The weights of what follows the encoders at stride 4, and of the decoder."""
        for part in (self.fuse_skip, self.decoder, self.head):
            yield from part.parameters()


class LateFusion(Network):
    """One whole network per branch, each by itself; only their decisions meet, as the mean of their logits."""

    def __init__(self, settings: ModelSettings, classes: int, embedding_dim: int) -> None:
        super().__init__(settings, classes, embedding_dim)
        self.parts = nn.ModuleDict(
            {
                name: HPCLNet(replace(settings, branches={name: names}, fusion="concat"), classes, embedding_dim)
                for name, names in settings.branches.items()
            }
        )

    def embed(self, bands: Mapping[str, Tensor]) -> Float[Tensor, "batch dim rows columns"]:
        """The mean of the branches' embeddings."""
        return torch.stack([part.embed({name: bands[name]}) for name, part in self._parts()]).mean(0)

    def forward(self, bands: Mapping[str, Tensor], contrast: bool = False) -> Outputs:
        """Segment a batch; ``contrast`` asks for the embeddings as well."""
        outputs = [part({name: bands[name]}, contrast) for name, part in self._parts()]
        embeddings = torch.stack([o.embeddings for o in outputs]).mean(0) if contrast else None
        logits = torch.stack([o.logits for o in outputs]).mean(0)
        return Outputs(logits, torch.cat([o.deep for o in outputs], dim=1), embeddings)

    def layers(self) -> dict[str, nn.Module]:
        """Every branch's encoder; there is no fused map."""
        return {name: part.encoders[name] for name, part in self._parts()}

    def contrast_head(self) -> Iterator[nn.Parameter]:
        """The projections' weights."""
        for _, part in self._parts():
            yield from part.contrast_head()

    def pixel_head(self) -> Iterator[nn.Parameter]:
        """Those of the branches' networks."""
        for _, part in self._parts():
            yield from part.pixel_head()

    def _parts(self) -> Iterator[tuple[str, Any]]:
        yield from self.parts.items()


def _encoder(settings: ModelSettings, name: str, bands: int) -> nn.Module:
    """A timm encoder with maps at stride 4 and at the deepest layer."""
    check_weights(settings)
    try:
        probe: Any = timm.create_model(settings.encoder, features_only=True)
        stride = list(probe.feature_info.reduction())
        if 4 not in stride:
            raise ModelError(
                f"Encoder '{settings.encoder}' has no map at stride 4 (it has {stride}); choose another one."
            )
        places = stride.index(4), len(stride) - 1
        return pretrained.encoder(settings, name, bands, output_stride=settings.output_stride, out_indices=places)
    except ModelError:
        raise
    except (RuntimeError, OSError, ValueError, NotImplementedError, TypeError, AssertionError) as error:
        if settings.pretrained:
            reason = "its pretrained weights could not be fetched (no network?)"
            remedy = "name local files in model.weights, or set model.pretrained to false"
        elif name in settings.weights:
            reason, remedy = (
                f"the weights in {settings.weights[name].file} do not fit it",
                "give weights of this encoder",
            )
        else:
            reason = f"timm cannot build it, or not with maps at output stride {settings.output_stride}"
            remedy = "choose another (timm.list_models() has the names; resnets and convnexts can)"
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"Encoder '{settings.encoder}': {reason}; {remedy}. ({first[0]})") from error
