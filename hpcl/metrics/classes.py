"""Several classes, each scored as itself: a landslide that is mapped as another class is a mistake here, which it is not in scores of
landslide against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hpcl.core.codes import BACKGROUND, OUTSIDE, UNKNOWN, UNMAPPED
from hpcl.metrics.instances import Numbers
from hpcl.metrics.intervals import resample, spread
from hpcl.metrics.pixels import ratio
from hpcl.metrics.records import ClassScores
from hpcl.metrics.tally import Array, Scene, by_block
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.windows import strips


@dataclass(frozen=True)
class ClassCounts:
    """Counts in each of n blocks of scored ground."""

    confusion: Array
    """Pixels ``(n, code, code)``, ``[truth, mapped]``; code 0 is background, and what was not mapped."""
    objects: Array
    """Landslides of each code, and those found as what they are, ``(n, code, 2)``; one belongs to the block of its northernmost
    pixel."""


def count(scene: Scene, mapped: Numbers, landslides: Numbers, classes: int, settings: EvaluateSettings) -> ClassCounts:
    """What a map of class codes got right on the scored ground of one area; ``landslides`` are the inventory's by number.

    A landslide is found where ``evaluate.object_found_frac`` of it is mapped as its own class.
    """
    codes, size, width = classes + 1, len(scene.area.folds), scene.labels.shape[1]
    confusion, parts = np.zeros((size, codes**2), np.int64), []
    for rows in strips(scene.labels.shape):
        truth = np.asarray(scene.labels[rows])
        scored = (truth != UNKNOWN) & (scene.area.codes(rows, slice(0, width)) != OUTSIDE)
        block, truth = scene.area.blocks(rows, slice(0, width))[scored], truth[scored].astype(np.int64)
        found = mapped(rows)[scored].astype(np.int64)
        found[found == UNMAPPED] = 0
        counted = by_block(block, truth * codes + found, codes**2)
        confusion[: len(counted)] += counted
        here = pd.DataFrame(
            {"number": landslides(rows)[scored], "code": truth, "block": block, "right": truth == found}
        )
        of = here[(here["number"] > 0) & (here["code"] > 0)].groupby(["number", "code"], as_index=False)
        parts.append(of.agg(block=("block", "first"), pixels=("right", "size"), right=("right", "sum")))
    of = pd.concat(parts).groupby(["number", "code"], as_index=False)
    table = of.agg({"block": "first", "pixels": "sum", "right": "sum"})
    table = table[table["pixels"] * scene.pixel_m2 >= settings.object_minimum_area_m2]
    hit = table["right"] >= settings.object_found_frac * table["pixels"]
    objects = np.stack([_by_place(part, size, codes) for part in (table, table[hit])], axis=-1)
    used = confusion.sum(1) > 0
    return ClassCounts(confusion[used].reshape(-1, codes, codes), objects[used])


def _by_place(table: pd.DataFrame, blocks: int, codes: int) -> Array:
    """How many rows each block has of each code ``(block id, code)``."""
    key = table["block"].to_numpy(np.int64) * codes + table["code"].to_numpy(np.int64)
    return np.bincount(key, minlength=blocks * codes).reshape(blocks, codes)


def scores(areas: Sequence[ClassCounts], classes: Sequence[str], settings: EvaluateSettings) -> list[ClassScores]:
    """The scores of each class over all areas, with intervals from resampled blocks."""
    confusion, objects = (np.concatenate([getattr(area, name) for area in areas]) for name in ("confusion", "objects"))
    blocks, names = len(confusion), [BACKGROUND, *classes]
    weights = resample(blocks, settings).astype(np.float64)
    found = []
    for code, name in enumerate(names[1:], start=1):
        both, either = confusion[:, code, code], confusion[:, code].sum(1) + confusion[:, :, code].sum(1)
        union = either - both
        draws = np.where(weights @ confusion[:, code].sum(1) > 0, ratio(weights @ both, weights @ union), np.nan)
        known, hit = objects[:, code].sum(0)
        truth = confusion[:, code].sum(0)
        found.append(
            ClassScores(
                name=name,
                iou=float(ratio(both.sum(), union.sum())) if truth.sum() else None,
                iou_interval=spread(draws, blocks, settings),
                objects=int(known),
                found=int(hit),
                mapped_as={of: float(part) for of, part in zip(names, ratio(truth, truth.sum()), strict=True)},
            )
        )
    return found
