"""What a map got right and wrong in the test split of one area, counted block by block while the scene passes in strips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpcl.core.codes import TEST, UNKNOWN
from hpcl.metrics.patches import Patches, boundary_band
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.windows import strips

Array = npt.NDArray[Any]

CURVE_THRESHOLDS = (np.arange(1001) / 1000).astype(np.float32)
"""Thresholds of the precision-recall curve; float32 as the scores are, so that ``score >= threshold`` is one thing."""


class MetricsError(ValueError):
    """A split or a map that cannot be scored."""


@dataclass(frozen=True)
class Scene:
    """The ground of one area: label codes, split codes and block ids ``(row, column)``, memory-mapped or not."""

    labels: Array
    split: Array
    block: Array
    pixel_m2: float


@dataclass(frozen=True)
class Blocks:
    """Counts in each of n blocks of the test split, the first axis: all that a score or its interval needs."""

    block: Array
    """Block id ``(n,)``."""
    confusion: Array
    """Pixels ``(n, 2, 2)``, ``[truth, mapped]``."""
    boundary_px: Array
    """Pixels in both boundary bands, and in either, ``(n, 2)``."""
    calibration: Array
    """Pixels, landslide pixels and summed probability of each bin, ``(n, bin, 3)``."""
    squared_error: Array
    """Sum of (probability - truth)^2, ``(n,)``."""
    objects: Array
    """Inventory objects, and those found, ``(n, 2)``; an object belongs to the block of its northernmost pixel."""
    false_objects: Array
    """Mapped patches that touch no landslide, ``(n,)``."""
    area_km2: Array
    """Scored ground ``(n,)``."""

    @staticmethod
    def join(parts: Sequence[Blocks]) -> Blocks:
        """The blocks of several areas together."""
        return Blocks(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Blocks)})


@dataclass(frozen=True)
class Tally:
    """What one map earned in one area."""

    blocks: Blocks
    histogram: Array
    """Pixels by truth and score ``(2, 1001)``: column k holds scores from k / 1000 on."""
    objects: pd.DataFrame
    """Inventory objects: ``block, row_px, column_px, area_m2, mapped_frac``."""
    no_prediction_px: int


def tally(
    scene: Scene,
    score: Callable[[slice], Array],
    threshold: float,
    settings: EvaluateSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tally:
    """Count what the map ``score >= threshold`` got right and wrong in the test split of one area.

    ``score`` gives the rows asked for as float32 ``(row, column)`` in 0..1, NaN where nothing was predicted.
    """
    height = scene.labels.shape[0]
    objects, mapped_patches = Patches(), Patches()
    totals: dict[str, Array] = {}
    histogram = np.zeros((2, len(CURVE_THRESHOLDS)), dtype=np.int64)
    no_prediction_px = 0
    for rows in strips(scene.labels.shape):
        strip = _strip(scene, score, threshold, settings.boundary_px, rows)
        test, truth, block = strip.test, strip.truth, strip.block
        objects.add(truth, strip.mapped, block)
        mapped_patches.add(strip.mapped, truth, block)
        no_prediction_px += int(np.isnan(strip.score[test]).sum())
        probability = np.nan_to_num(strip.score[test])
        if probability.size and not 0 <= probability.min() <= probability.max() <= 1:
            raise MetricsError("the map holds scores outside 0..1, so it is no probability; make it again.")
        level = np.searchsorted(CURVE_THRESHOLDS, probability, side="right") - 1
        histogram += np.bincount(truth[test] * histogram.shape[1] + level, minlength=histogram.size).reshape(2, -1)
        counts = _count_pixels(
            block[test], truth[test], strip.mapped[test], probability.astype(np.float64), settings.calibration_bins
        )
        for name, band in (("boundary_both", np.logical_and), ("boundary_either", np.logical_or)):
            counts[name] = by_block(block[test], 0, 1, band(*strip.boundaries)[test])
        for name, part in counts.items():
            totals[name] = _add(totals[name], part) if name in totals else part
        progress(rows.stop, height)

    table = _sized(objects.table(), scene, settings)
    table["mapped_frac"] = table["hit_pixels"] / table["pixels"]
    found = table[table["mapped_frac"] >= settings.object_found_frac]
    false_patches = _sized(mapped_patches.table(), scene, settings).query("hit_pixels == 0")
    blocks = _blocks(totals, table, found, false_patches, scene.pixel_m2)
    return Tally(blocks, histogram, table[["block", "row_px", "column_px", "area_m2", "mapped_frac"]], no_prediction_px)


@dataclass(frozen=True)
class _Strip:
    """Some rows of a scene and of its map, each array ``(row, column)``."""

    test: Array
    """What is scored."""
    truth: Array
    mapped: Array
    boundaries: tuple[Array, Array]
    """The boundary bands of truth and map."""
    block: Array
    score: Array


def _strip(scene: Scene, score: Callable[[slice], Array], threshold: float, halo: int, rows: slice) -> _Strip:
    """Read with ``halo`` more rows on either side, without which boundaries would end where strips do."""
    outer = slice(max(rows.start - halo, 0), min(rows.stop + halo, scene.labels.shape[0]))
    core = slice(rows.start - outer.start, rows.stop - outer.start)
    labels, values = np.asarray(scene.labels[outer]), score(outer)
    test = (np.asarray(scene.split[outer]) == TEST) & (labels != UNKNOWN)
    truth = test & (labels >= 1)
    mapped = test & (values >= threshold)
    of_truth, of_map = (boundary_band(mask, test, halo)[core] for mask in (truth, mapped))
    return _Strip(
        test[core], truth[core], mapped[core], (of_truth, of_map), np.asarray(scene.block[rows]), values[core]
    )


def _blocks(
    totals: Mapping[str, Array], objects: pd.DataFrame, found: pd.DataFrame, false: pd.DataFrame, pixel_m2: float
) -> Blocks:
    """The blocks that hold a scored pixel, from totals ``(block id, ...)`` and from patches."""
    used = np.flatnonzero(totals["confusion"].sum(1))
    confusion = totals["confusion"][used].reshape(-1, 2, 2)

    def per_block(patches: pd.DataFrame) -> Array:
        return np.bincount(patches["block"], minlength=len(totals["confusion"]))[used]

    return Blocks(
        block=used,
        confusion=confusion,
        boundary_px=np.concatenate([totals["boundary_both"], totals["boundary_either"]], axis=1)[used],
        calibration=totals["calibration"][used],
        squared_error=totals["squared_error"][used, 0],
        objects=np.stack([per_block(objects), per_block(found)], axis=1),
        false_objects=per_block(false),
        area_km2=confusion.sum((1, 2)) * pixel_m2 / 1e6,
    )


def _count_pixels(block: Array, truth: Array, mapped: Array, probability: Array, bins: int) -> dict[str, Array]:
    """Counts of some pixels, all ``(pixel,)``, summed by block: ``(block id, ...)``."""
    level = np.minimum((probability * bins).astype(np.int64), bins - 1)
    calibration = [by_block(block, level, bins, weights) for weights in (None, truth, probability)]
    return {
        "confusion": by_block(block, truth * 2 + mapped, 4),
        "calibration": np.stack(calibration, -1),
        "squared_error": by_block(block, 0, 1, np.square(probability - truth)),
    }


def by_block(block: Array, key: Array | int, keys: int, weights: Array | None = None) -> Array:
    """How many pixels (or how much weight) each block has of each of ``keys`` keys: ``(block id, key)``."""
    size = (int(block.max(initial=-1)) + 1) * keys
    return np.bincount(block.astype(np.int64) * keys + key, weights, minlength=size).reshape(-1, keys)


def _add(a: Array, b: Array) -> Array:
    """Sum of two tables of which one may know more blocks than the other."""
    if len(a) < len(b):
        a, b = b, a
    a[: len(b)] += b
    return a


def _sized(patches: pd.DataFrame, scene: Scene, settings: EvaluateSettings) -> pd.DataFrame:
    """Patches with their ``area_m2``, without those below the smallest object that counts."""
    patches = patches.assign(area_m2=patches["pixels"] * scene.pixel_m2)
    return patches[patches["area_m2"] >= settings.object_minimum_area_m2].reset_index(drop=True)
