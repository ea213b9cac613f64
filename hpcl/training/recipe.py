"""What decides a training, beside its tiles: three sections of params.yaml as one."""

from __future__ import annotations

from dataclasses import dataclass

from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings, check_training
from hpcl.training.devices import joint_seed


@dataclass(frozen=True)
class Recipe:
    """Sections `model`, `contrastive` and `train`."""

    model: ModelSettings
    contrast: ContrastSettings
    train: TrainSettings

    @property
    def has_contrast(self) -> bool:
        """Whether the contrast's loss takes part at all."""
        return self.contrast.weight > 0

    @property
    def needs_toe(self) -> bool:
        """Whether pairs depend on which part of a boundary faces downhill."""
        return self.has_contrast and self.contrast.sampling == "boundary_without_toe"

    @property
    def steps(self) -> int:
        """Steps of the training of one network."""
        return self.train.epochs * self.train.steps_per_epoch

    def seed(self, fold: int) -> int:
        """From which first weights and draws of the network of a fold follow.

        Of each network its own: networks that began alike would err alike, and the spread between them would tell too little.
        No sum, for then fold 2 of ``train.seed`` 0 would begin as fold 1 of 1 does, and seeds would not be independent.
        """
        return joint_seed(self.train.seed, fold)

    def check(self, window_px: int) -> None:
        """Raise what is wrong with the sections together, and with windows of this size."""
        check_training(self.model, self.contrast, self.train, window_px)
