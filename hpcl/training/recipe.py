"""What decides a training, beside its tiles: three sections of params.yaml as one."""

from __future__ import annotations

from dataclasses import dataclass

from hpcl.settings.contrastive import ContrastSettings
from hpcl.settings.model import ModelSettings
from hpcl.settings.train import TrainSettings, check_training


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
        """Steps of the whole training, if it is not stopped early."""
        return self.train.epochs * self.train.steps_per_epoch

    def check(self, window_px: int) -> None:
        """Raise what is wrong with the sections together, and with windows of this size."""
        check_training(self.model, self.contrast, self.train, window_px)
