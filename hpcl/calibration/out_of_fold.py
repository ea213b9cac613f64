"""Counting out-of-fold probabilities against labels while areas pass in strips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.calibration.counts import LEVELS, CalibrationError, Counts
from hpcl.core.artifacts import remedy
from hpcl.core.codes import ALL_NETWORKS, MAX_FOLDS, NO_NETWORK, UNKNOWN
from hpcl.core.records import FoldedArea
from hpcl.metrics.patches import Patches
from hpcl.metrics.tally import Scene, levels
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.windows import strips

Array = npt.NDArray[Any]

STEP = 10
"""Levels of one step of what is kept of each landslide: 101 numbers, so that a hundred thousand of them stay small. It is found
at a step if it is found at the step's lowest level."""


def check_own(path: Path, networks: Array, area: FoldedArea, rows: slice) -> None:
    """Raise `CalibrationError` where ground of a fold was mapped by another network than its own, which knows its labels.

    ``networks``: of some rows by the network map at ``path``.
    """
    own = area.networks(rows, slice(0, area.shape[1]))
    if (other := (own != ALL_NETWORKS) & (networks != own) & (networks != NO_NETWORK)).any():
        raise CalibrationError(
            f"{path} says that ground of fold {own[other][0]} was mapped by"
            f" {_named(int(networks[other][0]))}, which learnt from it: the ground was dealt again since the map was made, or the"
            f" file is another's; run dvc repro, or {remedy(path)}."
        )


def _named(network: int) -> str:
    return f"the network of fold {network}" if network else "the mean of all networks"


class Counter:
    """Adds up areas."""

    def __init__(self, folds: int, settings: EvaluateSettings) -> None:
        self._settings = settings
        self._histogram = np.zeros((folds, 2, LEVELS), np.int64)
        self._objects = np.zeros((1 + folds, LEVELS), np.int64)

    @property
    def counts(self) -> Counts:
        """Of all areas so far."""
        return Counts(self._histogram, self._objects)

    def add(
        self,
        scene: Scene,
        probability: Callable[[slice], Array],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Count an area. ``probability`` gives rows as float32 ``(row, column)``, out-of-fold, NaN where nothing was
        predicted."""
        height, width = scene.labels.shape
        landslides = _Landslides(len(self._histogram))
        for rows in strips(scene.labels.shape):
            labels, codes = np.asarray(scene.labels[rows]), scene.area.codes(rows, slice(0, width))
            judged = (codes < MAX_FOLDS) & (labels != UNKNOWN)
            truth = judged & (labels >= 1)
            level = levels(np.nan_to_num(probability(rows)))
            key = (codes[judged].astype(np.int64) * 2 + truth[judged]) * LEVELS + level[judged]
            self._histogram += np.bincount(key, minlength=self._histogram.size).reshape(self._histogram.shape)
            landslides.add(truth, codes, level)
            progress(rows.stop, height)
        self._objects += landslides.found(self._settings, scene.pixel_m2)


class _Landslides:
    """The landslides of an area: how many of their pixels are at each step, and which folds they touch."""

    def __init__(self, folds: int) -> None:
        self._folds = folds
        self._patches = Patches()
        self._steps = [np.zeros((0, LEVELS // STEP + 1), np.int32)]
        self._touched = [np.zeros((0, folds), bool)]

    def add(self, truth: Array, codes: Array, level: Array) -> None:
        """Take the next rows, each array ``(row, column)``."""
        part = self._patches.add(truth, truth, codes)[truth]
        part -= part.min(initial=1 << 62)
        count = int(part.max(initial=-1)) + 1
        for kept, key, keys in (
            (self._steps, level[truth] // STEP, LEVELS // STEP + 1),
            (self._touched, codes[truth], self._folds),
        ):
            found = np.bincount(part * keys + key, minlength=count * keys).reshape(count, keys)
            kept.append(found.astype(kept[0].dtype))

    def found(self, settings: EvaluateSettings, pixel_m2: float) -> Array:
        """Those that count, by network and the highest level at which they are found, as in `Counts`."""
        rows = self._patches.of_parts()
        table = self._patches.table()
        steps = np.zeros((len(table), LEVELS // STEP + 1), np.int32)
        touched = np.zeros((len(table), self._folds), bool)
        np.add.at(steps, rows, np.concatenate(self._steps))
        np.logical_or.at(touched, rows, np.concatenate(self._touched))
        pixels = table["pixels"].to_numpy()
        reached = steps[:, ::-1].cumsum(axis=1, dtype=np.int32)[:, ::-1] / pixels[:, None] >= settings.object_found_frac
        level = (reached.sum(axis=1) - 1) * STEP
        counts = pixels * pixel_m2 >= settings.object_minimum_area_m2
        everyone = np.ones((len(table), 1), bool)
        may_choose = np.concatenate([everyone, ~touched], axis=1) & counts[:, None]
        return np.stack([np.bincount(level[chosen], minlength=LEVELS) for chosen in may_choose.T])
