"""Section `model`: what the network is made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

BASELINE_NETWORKS = (
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet", "Segformer",
)  # fmt: skip
"""What segmentation_models_pytorch calls the architectures that can stand in for HPCL-Net."""
SMP_STRIDE_PX = 32
"""Windows whose sides are multiples of this suit every one of them with a convolutional encoder (PAN from 128)."""


class ModelError(ValueError):
    """The network cannot be built, saved or loaded as asked."""


BranchName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
BandNames = Annotated[tuple[str, ...], Field(min_length=1)]


def _by_name(branches: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """In one order, however they were written: the weights of a fusion know branches by their place."""
    return dict(sorted(branches.items()))


Branches = Annotated[dict[BranchName, BandNames], Field(min_length=1), AfterValidator(_by_name)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ModelSettings:
    """What the network is made of.

    ``architecture`` is hpcl_net or, as a baseline network, any of segmentation_models_pytorch (Unet, UPerNet, DeepLabV3Plus...) on
    all bands stacked. ``branches`` names the bands of each encoder, in whatever order. ``encoder`` is a timm name whose
    feature maps can be had at ``output_stride`` (resnets, convnexts, efficientnets...); ``pretrained`` is true (timm's
    weights, from its hub), false, or a local weight file. ``output_stride`` is the side of a hyper-pixel [px]. ``fusion``
    joins the branches: at the ``input`` (one encoder on stacked bands), in the semantic space by ``coordinate_attention``
    or a plain ``concat``, or at the ``decision`` (mean of the logits of one network per branch).
    """

    architecture: str = Field(min_length=1)
    branches: Branches
    encoder: str
    pretrained: bool | str
    output_stride: Literal[8, 16]
    fusion: Literal["input", "concat", "coordinate_attention", "decision"]
    fused_channels: int = Field(ge=8)
    decoder_channels: int = Field(ge=8)
    dropout: float = Field(ge=0, lt=1)


def smp_architecture(settings: ModelSettings) -> str:
    """The library's name of the architecture, in whatever case it was written; empty for HPCL-Net.

    Raises `ModelError` if there is no such architecture.
    """
    known = {name.lower(): name for name in BASELINE_NETWORKS}
    name = settings.architecture.lower()
    if settings.architecture == "hpcl_net" or name in known:
        return known.get(name, "")
    close = difflib.get_close_matches(name, ["hpcl_net", *known], n=1)
    hint = f" (did you mean {known.get(close[0], close[0])}?)" if close else ""
    raise ModelError(
        f"model.architecture is '{settings.architecture}'{hint}; there are hpcl_net, {', '.join(BASELINE_NETWORKS)}."
    )


def check_weights(settings: ModelSettings) -> None:
    """Raise `ModelError` if ``pretrained`` names a file that is none, or that the architecture does not take."""
    if not isinstance(settings.pretrained, str):
        return
    if smp_architecture(settings):
        raise ModelError(
            "A baseline network takes model.pretrained true or false; a weight file is for hpcl_net alone."
        )
    if not Path(settings.pretrained).is_file():
        raise ModelError(
            f"model.pretrained names {settings.pretrained}, which is no file; give a weight file, true or false."
        )


def check_bands(branches: Mapping[str, Sequence[str]], there: Sequence[str], where: str, remedy: str = "") -> None:
    """Raise `ModelError` if a branch asks for a band that is not ``there``; ``where`` says of what the bands are."""
    for branch, names in branches.items():
        for name in names:
            if name not in there:
                close = difflib.get_close_matches(name, there, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else "."
                raise ModelError(
                    f"params.yaml: model.branches.{branch} asks for band '{name}', which {where} does not have{remedy}; it has"
                    f" {', '.join(there)}{hint}"
                )
