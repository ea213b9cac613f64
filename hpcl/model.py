"""HPCL-Net whole: encoders of the same kind for unlike data, coordinate attention where they meet, a decoder for pixels,
a projection for hyper-pixels, and the momentum twin that feeds the queues (arXiv 2308.01251).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as record
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn


class ModelError(ValueError):
    """The network cannot be built, saved or loaded as asked."""


@record(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ModelSettings:
    """What the network is made of.

    ``branches`` names the bands of each encoder. ``encoder`` is any timm name with feature maps; ``pretrained`` is true
    (timm's weights, from its hub), false, or a local weight file. ``output_stride`` is the side of a hyper-pixel [px].
    ``fusion`` joins the branches by coordinate attention or by a plain 1x1 convolution.
    """

    branches: dict[str, tuple[str, ...]] = Field(min_length=1)
    encoder: str
    pretrained: bool | str
    output_stride: Literal[8, 16]
    fusion: Literal["coordinate_attention", "concat"]
    fused_channels: int = Field(ge=8)
    decoder_channels: int = Field(ge=8)
    dropout: float = Field(ge=0, lt=1)


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


class Outputs(NamedTuple):
    """Everything the network computes: class ``logits`` per pixel, ``deep`` the fused deepest map, ``embeddings`` its
    projection to the space of the contrast (not normalised; None where it was not asked for).

    A tuple, because Fabric walks through what a network returns and refuses frozen dataclasses.
    """

    logits: Float[Tensor, "batch classes height width"]
    deep: Float[Tensor, "batch channels rows columns"]
    embeddings: Float[Tensor, "batch dim rows columns"] | None


class HPCLNet(nn.Module):
    """Bands per branch -> class logits per pixel.

    The skip at stride 4 and the deepest map are fused; DeepLabv3+ (ASPP 6/12/18 at stride 16, twice that at 8) decodes.
    Height and width must be multiples of ``output_stride``.
    """

    def __init__(self, settings: ModelSettings, classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.settings, self.classes, self.embedding_dim = settings, classes, embedding_dim
        self.encoders = nn.ModuleDict(
            {name: _encoder(settings, len(bands)) for name, bands in settings.branches.items()}
        )
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
        features = [encoder(bands[name]) for name, encoder in self.encoders.items()]
        return self.fuse_skip([f[0] for f in features]), self.fuse_deep([f[-1] for f in features])

    def embed(self, bands: Mapping[str, Tensor]) -> Float[Tensor, "batch dim rows columns"]:
        """The contrast's embeddings alone, without decoding."""
        return self.project(self.encode(bands)[1])

    def forward(self, bands: Mapping[str, Tensor], contrast: bool = False) -> Outputs:
        """Segment a batch; ``contrast`` asks for the embeddings as well."""
        height, width = next(iter(bands.values())).shape[2:]
        stride = self.settings.output_stride
        if height % stride or width % stride:
            raise ModelError(f"The network was given {height} x {width} px; give multiples of {stride} px.")
        skip, deep = self.encode(bands)
        logits = self.head(self.decoder([skip, skip, skip, deep]))
        logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        return Outputs(logits, deep, self.project(deep) if contrast else None)


def _encoder(settings: ModelSettings, bands: int) -> nn.Module:
    """A timm encoder with maps at stride 4 and at the deepest layer."""
    overlay = {"file": settings.pretrained} if isinstance(settings.pretrained, str) else None
    if overlay and not Path(overlay["file"]).is_file():
        raise ModelError(
            f"model.pretrained names {overlay['file']}, which is no file; give a weight file, true or false."
        )
    try:
        probe: Any = timm.create_model(settings.encoder, features_only=True)
        stride = list(probe.feature_info.reduction())
        if 4 not in stride:
            raise ModelError(
                f"Encoder '{settings.encoder}' has no map at stride 4 (it has {stride}); choose another one."
            )
        return timm.create_model(
            settings.encoder,
            features_only=True,
            in_chans=bands,
            output_stride=settings.output_stride,
            out_indices=(stride.index(4), len(stride) - 1),
            pretrained=bool(settings.pretrained),
            pretrained_cfg_overlay=overlay,
        )
    except ModelError:
        raise
    except (RuntimeError, OSError, ValueError, NotImplementedError, TypeError) as error:
        if settings.pretrained is True:
            reason = "its pretrained weights could not be fetched (no network?)"
            remedy = "set model.pretrained to a local weight file or to false"
        elif settings.pretrained:
            reason, remedy = f"the weights in {settings.pretrained} do not fit it", "give weights of this encoder"
        else:
            reason, remedy = "timm cannot build it", "see timm.list_models() for the names"
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"Encoder '{settings.encoder}': {reason}; {remedy}. ({first[0]})") from error


class MomentumTwin(nn.Module):
    """A slowly following copy of the network: the source of the keys (MoCo, He et al. 2020, eq. 2).

    Parameters **and** floating buffers (BatchNorm's statistics) are averaged, and the twin always runs in evaluation
    mode: so its keys depend on nothing but their own window (MoCo's twin sees the batch through BatchNorm and must
    shuffle it), and the twin is a network one can predict with. Our choice.
    """

    def __init__(self, network: HPCLNet) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> MomentumTwin:
        """The twin stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, network: HPCLNet, momentum: float, step: int) -> None:
        """Move towards ``network``; in early steps faster: momentum is ``min(1 - 1/(step+1), momentum)``."""
        m = min(1 - 1 / (step + 1), momentum)
        for mine, theirs in zip(_floating(self.network), _floating(network), strict=True):
            mine.lerp_(theirs, 1 - m)


def _floating(network: nn.Module) -> list[Tensor]:
    return [t for t in [*network.parameters(), *network.buffers()] if t.is_floating_point()]


@dataclass(frozen=True)
class Trained:
    """A trained network and the facts that travel with it (bands, normalisation, classes, window, threshold...)."""

    network: HPCLNet
    facts: dict[str, Any]


WEIGHTS, FACTS = "model.safetensors", "model.json"


def save(folder: Path, network: HPCLNet, facts: Mapping[str, Any]) -> None:
    """Write weights and facts; the facts name the weights by their SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, folder / WEIGHTS)
    written = dict(facts) | {
        "settings": asdict(network.settings),
        "embedding_dim": network.embedding_dim,
        "weights_sha256": _sha256(folder / WEIGHTS),
    }
    (folder / FACTS).write_text(json.dumps(written, sort_keys=True, indent=1) + "\n")


def load(folder: Path) -> Trained:
    """Read a network back, in evaluation mode; nothing is unpickled, and weights that are not those named are refused."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        if _sha256(folder / WEIGHTS) != facts["weights_sha256"]:
            raise ModelError(f"{folder / WEIGHTS} is not the file that {FACTS} was written for; restore both together.")
        settings = TypeAdapter(ModelSettings).validate_json(json.dumps(facts["settings"] | {"pretrained": False}))
        network = HPCLNet(settings, len(facts["classes"]) + 1, facts["embedding_dim"])
        network.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise ModelError(
            f"{error.filename} does not exist; run the train stage, or `dvc checkout` an earlier model."
        ) from error
    except (json.JSONDecodeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{folder} does not hold a whole model ({error}); restore it with `dvc checkout`.") from error
    return Trained(network.eval(), facts)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
