"""Section `model`: what the network is made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from hpcl.core.digest import sha256

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


STACK = "stack"
"""Name of the one encoder that sees the bands of all branches."""


def _no_file(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(
            "it is true or false; name weight files in model.weights, as {BRANCH: {file: NAME, sha256: SHA-256 of it,"
            " stem: repeat, learning_rate_frac: 1.0}}"
        )
    return value


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class WeightFile:
    """Weights that an encoder starts from, and how: a ``file`` of timm's names, known by its ``sha256``.

    Filters of three colours become those of other bands: ``repeat`` (timm's rule: in turn, and scaled), ``mean`` (their mean
    for every band) or ``random`` (as without weights). The encoder learns at ``learning_rate_frac`` of train.learning_rate.
    """

    file: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    stem: Literal["repeat", "mean", "random"]
    learning_rate_frac: float = Field(gt=0, le=1)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class ModelSettings:
    """What the network is made of.

    ``architecture`` is hpcl_net or, as a baseline network, any of segmentation_models_pytorch (Unet, UPerNet, DeepLabV3Plus...) on
    all bands stacked. ``branches`` names the bands of each encoder, in whatever order. ``encoder`` is a timm name whose
    feature maps can be had at ``output_stride`` (resnets, convnexts, efficientnets...). It starts from random weights, from
    timm's own where ``pretrained`` is true (from its hub), or from those of ``weights``, by branch (`STACK` for the one encoder
    of stacked bands). ``output_stride`` is the side of a hyper-pixel [px]. ``fusion``
    joins the branches: at the ``input`` (one encoder on stacked bands), in the semantic space by ``coordinate_attention``
    or a plain ``concat``, or at the ``decision`` (mean of the logits of one network per branch).
    """

    architecture: str = Field(min_length=1)
    branches: Branches
    encoder: str
    pretrained: Annotated[bool, BeforeValidator(_no_file)]
    output_stride: Literal[8, 16]
    fusion: Literal["input", "concat", "coordinate_attention", "decision"]
    fused_channels: int = Field(ge=8)
    decoder_channels: int = Field(ge=8)
    dropout: float = Field(ge=0, lt=1)
    weights: dict[BranchName, WeightFile]

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders: the branches, or `STACK`."""
        stacked = self.architecture != "hpcl_net" or self.fusion == "input"
        return (STACK,) if stacked else tuple(self.branches)


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
    """Raise `ModelError` if ``weights`` names a file that is none or another than was meant, or an encoder that there is not."""
    if settings.weights and settings.pretrained:
        raise ModelError(
            "model.pretrained true takes timm's weights, but model.weights names others; take one of them out."
        )
    if settings.weights and not set(settings.encoders) & set(settings.weights):
        raise ModelError(
            f"model.weights has weights for {', '.join(settings.weights)}, but the encoders of this network are"
            f" {', '.join(settings.encoders)}; name one of those."
        )
    for name in settings.weights:
        if name not in (*settings.branches, STACK):
            raise ModelError(
                f"model.weights names '{name}', but the branches are {', '.join(settings.branches)}; name one of them, or"
                f" '{STACK}' for the one encoder of stacked bands."
            )
    for name, weights in settings.weights.items():
        path = Path(weights.file)
        if not path.is_file():
            raise ModelError(
                f"model.weights.{name} names {weights.file}, which is no file; give a weight file, or take '{name}' out."
            )
        if (found := sha256(path)) != weights.sha256:
            raise ModelError(
                f"model.weights.{name}: {weights.file} has the SHA-256 {found}, not {weights.sha256}; give the file that was"
                " meant, or write that SHA-256 if it is this one."
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
