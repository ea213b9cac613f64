"""Section `train`: augmentation, budget and optimiser; and what must hold among all that a training is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import SMP_STRIDE_PX, ModelSettings, smp_architecture


class FitError(ValueError):
    """Training cannot start or go on as asked."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class AugmentSettings:
    """Augmentation of training windows: quarter turns and mirrors always; image bands get a random gain and
    offset of these standard deviations (in units of a band's standard deviation), half of it common to all bands.

    With probability ``branch_dropout_frac`` a window loses one of several branches: its bands become their mean, as those
    of an area do that lacks them.
    """

    gain_std: float = Field(ge=0)
    offset_std: float = Field(ge=0)
    branch_dropout_frac: float = Field(ge=0, lt=1)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class TrainSettings:
    """The budget and the optimiser (AdamW, one cycle: linear warm-up over ``warmup_frac``, then a cosine to zero).

    An epoch is ``steps_per_epoch`` batches, drawn again each time; ``batch_size`` windows are shared among all processes. All
    ``epochs`` are trained, and the last weights ship: no label of the fold that is held out chooses anything. ``predictor`` is
    what ships: the ``network`` or its exponential moving average, ``ema``, the momentum encoder of the contrast. ``precision``
    is Lightning Fabric's; ``channels_last`` and ``compile`` are torch's. docs/benchmarks.md says what they give.
    """

    seed: int = Field(ge=0)
    epochs: int = Field(ge=1)
    steps_per_epoch: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup_frac: float = Field(ge=0, lt=1)
    dice_weight: float = Field(ge=0)
    gradient_norm: float = Field(gt=0)
    landslide_windows_frac: float = Field(ge=0, le=1)
    augment: AugmentSettings
    workers: int = Field(ge=0)
    predictor: Literal["network", "ema"]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    channels_last: bool
    compile: bool


def check_training(model: ModelSettings, contrast: ContrastSettings, train: TrainSettings, window_px: int) -> None:
    """Raise `FitError` if the network cannot see such windows or be trained so, `ModelError` if there is none of its name."""
    baseline = smp_architecture(model)
    multiple_px = SMP_STRIDE_PX if baseline else model.output_stride
    if window_px % multiple_px:
        raise FitError(f"tile.window_px is {window_px}, but the network needs a multiple of {multiple_px}.")
    if contrast.weight == 0 and train.predictor == "ema":
        raise FitError("train.predictor is ema, but contrastive.weight 0 makes no momentum encoder; set it to network.")
    if contrast.weight == 0 and contrast.alone_frac > 0:
        raise FitError(
            f"contrastive.alone_frac is {contrast.alone_frac:g}, but contrastive.weight 0 makes no contrast that could teach alone;"
            " set alone_frac to 0."
        )
    if contrast.alone_frac > 0 and contrast.start_frac > 0:
        raise FitError(
            f"contrastive.alone_frac is {contrast.alone_frac:g}, but until contrastive.start_frac {contrast.start_frac:g} the contrast"
            " does not act, so nothing would be learnt; set one of them to 0."
        )
    if contrast.weight > 0 and baseline:
        raise FitError(f"model.architecture {model.architecture} has no contrast; set contrastive.weight to 0.")
