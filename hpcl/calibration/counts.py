"""What out-of-fold probabilities say of labelled ground, counted; data/calibrate as tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpcl.core import artifacts

LEVELS = 1001
"""Probabilities are counted in thousandths: level k holds those from k / 1000 on."""


class CalibrationError(ValueError):
    """Counts from which no threshold can be chosen, or a map that is not out-of-fold."""


@dataclass(frozen=True)
class Counts:
    """Pixels and landslides by their probability."""

    histogram: npt.NDArray[np.int64]
    """Pixels by fold code, truth and level, ``(fold, 2, level)``. Ground without a prediction is at level 0."""
    objects: npt.NDArray[np.int64]
    """Landslides of the inventory by network and the highest level at which they are found, ``(1 + fold, level)``: in row k
    those that reach into no part of fold k, which may choose the threshold of its network; in row 0 all."""

    @property
    def folds(self) -> int:
        """How many there are."""
        return len(self.histogram)


def write(folder: Path, counts: Counts) -> None:
    """Write histogram.csv and objects.csv."""
    background, landslide = counts.histogram.transpose(1, 0, 2).reshape(2, -1)
    table = _keys("fold", range(1, counts.folds + 1)).assign(background_px=background, landslide_px=landslide)
    artifacts.write_csv(folder / "histogram.csv", table)
    table = _keys("network", range(counts.folds + 1)).assign(objects=counts.objects.ravel())
    artifacts.write_csv(folder / "objects.csv", table)


def read(folder: Path) -> Counts:
    """What `write` wrote. Raises `ArtifactError` or `CalibrationError`."""
    pixels = _table(folder / "histogram.csv", "fold", 1, ["background_px", "landslide_px"])
    objects = _table(folder / "objects.csv", "network", 0, ["objects"])
    if len(objects) != len(pixels) + LEVELS:
        raise CalibrationError(
            f"{folder}: histogram.csv and objects.csv count other folds; {artifacts.remedy(folder / 'histogram.csv')}."
        )
    return Counts(pixels.reshape(-1, LEVELS, 2).transpose(0, 2, 1), objects.reshape(-1, LEVELS))


def _keys(name: str, codes: range) -> pd.DataFrame:
    """The first two columns of a table: every code, with every level."""
    return pd.DataFrame({name: np.repeat(codes, LEVELS), "level": np.tile(np.arange(LEVELS), len(codes))})


def _table(path: Path, name: str, first: int, columns: list[str]) -> npt.NDArray[np.int64]:
    """The numbers of a table, ``(row, column)``, if it is whole."""
    table = artifacts.read_csv(path, dict.fromkeys([name, "level", *columns], "int64"))
    keys = _keys(name, range(first, first + max(len(table) // LEVELS, 1)))
    if not table[[name, "level"]].equals(keys) or (table[columns] < 0).any(axis=None):
        raise CalibrationError(f"{path} is no whole table of counts; {artifacts.remedy(path)}.")
    return table[columns].to_numpy()
