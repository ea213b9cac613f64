"""What a map got right and wrong on the labelled ground of one area, counted block by block while the scene passes in strips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpcl.core.codes import MAX_FOLDS, OUTSIDE, UNKNOWN
from hpcl.core.records import FoldedArea
from hpcl.metrics.patches import Patches, boundary_band
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.windows import strips

Array = npt.NDArray[Any]

CURVE_THRESHOLDS = (np.arange(1001) / 1000).astype(np.float32)
"""Thresholds of the precision-recall curve; float32 as the scores are, so that ``score >= threshold`` is one thing."""


UNCERTAINTIES = ((np.arange(256) / 255) ** 2).astype(np.float32)
"""From where on the levels of uncertainty reach: close together where most of it lies."""


class MetricsError(ValueError):
    """Ground or a map that cannot be scored."""


@dataclass(frozen=True)
class Scene:
    """The ground of one area: label codes ``(row, column)``, memory-mapped or not, and where its blocks and folds lie."""

    labels: Array
    area: FoldedArea

    @property
    def pixel_m2(self) -> float:
        """What a pixel covers."""
        a, b, _, d, e, _ = self.area.transform
        return abs(a * e - b * d)


@dataclass(frozen=True)
class Map:
    """A map of one area, asked by rows for arrays ``(row, column)``."""

    score: Callable[[slice], Array]
    """float32 in 0..1, NaN where nothing was predicted."""
    thresholds: Array
    """From which score on a pixel is landslide, by the code of the network that is to map it (`FoldedArea.networks`)."""
    uncertainty: Callable[[slice], Array] | None = None
    """float32 in 0..1, where the map says how sure it is."""


@dataclass(frozen=True)
class Blocks:
    """Counts in each of n blocks of scored ground, the first axis: all that a score or its interval needs."""

    block: Array
    """Block id ``(n,)``."""
    fold: Array
    """The fold, from 1, or 0 in a test area ``(n,)``."""
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
    no_prediction_px: Array
    """Pixels without a prediction ``(n,)``."""
    uncertainty: Array
    """Predicted pixels that are right, and wrong, by level of uncertainty ``(n, 2, level)``; without levels where the map
    does not say."""
    instances: Array
    """`hpcl.metrics.instances.COUNTS` ``(n, count)``; without counts where the map is not one of polygons."""

    @staticmethod
    def join(parts: Sequence[Blocks]) -> Blocks:
        """The blocks of several areas together."""
        return Blocks(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Blocks)})

    def only(self, chosen: Array) -> Blocks:
        """Those of the blocks that are ``chosen`` ``(n,)``."""
        return Blocks(**{f.name: getattr(self, f.name)[chosen] for f in fields(Blocks)})


@dataclass(frozen=True)
class Tally:
    """What one map earned in one area."""

    blocks: Blocks
    histogram: Array
    """Pixels by truth and score ``(2, 1001)``: column k holds scores from k / 1000 on."""
    objects: pd.DataFrame
    """Inventory objects: ``block, row_px, column_px, area_m2, mapped_frac``."""


def tally(
    scene: Scene,
    of: Map,
    settings: EvaluateSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tally:
    """Count what a map got right and wrong on the labelled ground of one area that lies in folds, or in a test area."""
    return tally_all(scene, {"": of}, settings, progress)[""]


def tally_all(
    scene: Scene,
    maps: Mapping[str, Map],
    settings: EvaluateSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Tally]:
    """The same of several maps by name, while the scene passes once: what the ground alone decides is found once for all, and
    maps of one ``score`` at several thresholds are read once."""
    height = scene.labels.shape[0]
    landslides = Patches()
    alike: dict[Callable[[slice], Array], dict[str, _Cut]] = {}
    for name, of in maps.items():
        alike.setdefault(of.score, {})[name] = _Cut(of)
    graded = {score: _Graded(settings.calibration_bins) for score in alike}
    for rows in strips(scene.labels.shape):
        ground = _Ground.of(scene, settings.boundary_px, rows)
        parts = landslides.add(ground.truth, ground.truth, ground.block)[ground.truth]
        parts -= parts.min(initial=1 << 62)
        for score, cuts in alike.items():
            values = score(ground.outer)
            graded[score].add(ground, values[ground.core])
            for cut in cuts.values():
                cut.add(ground, values, parts)
        progress(rows.stop, height)
    table, whole = landslides.table(), landslides.of_parts()
    return {
        name: _tally(scene, graded[score], cut, table.assign(hit_pixels=cut.hits(whole)), settings)
        for score, cuts in alike.items()
        for name, cut in cuts.items()
    }


@dataclass(frozen=True)
class _Ground:
    """Some rows of a scene, each array ``(row, column)``; ``..._outer`` with a halo of more rows on either side, without which
    boundaries would end where strips do."""

    rows: slice
    outer: slice
    core: slice
    """The rows among the outer ones."""
    halo: int
    judged_outer: Array
    """What is scored."""
    networks_outer: Array
    judged: Array
    truth: Array
    boundary: Array
    """The boundary band of the truth."""
    block: Array
    judged_block: Array
    """The block of each pixel that is scored ``(pixel,)``."""

    @classmethod
    def of(cls, scene: Scene, halo: int, rows: slice) -> _Ground:
        height, width = scene.labels.shape
        outer, columns = slice(max(rows.start - halo, 0), min(rows.stop + halo, height)), slice(0, width)
        core = slice(rows.start - outer.start, rows.stop - outer.start)
        labels = np.asarray(scene.labels[outer])
        judged = (scene.area.codes(outer, columns) != OUTSIDE) & (labels != UNKNOWN)
        truth = judged & (labels >= 1)
        block = scene.area.blocks(rows, columns)
        return cls(
            rows=rows,
            outer=outer,
            core=core,
            halo=halo,
            judged_outer=judged,
            networks_outer=scene.area.networks(outer, columns),
            judged=judged[core],
            truth=truth[core],
            boundary=boundary_band(truth, judged, halo)[core],
            block=block,
            judged_block=block[judged[core]],
        )


class _Graded:
    """What the scores of a map say before any threshold is laid on them, summed by block."""

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self.totals: dict[str, Array] = {}
        self.histogram = np.zeros((2, len(CURVE_THRESHOLDS)), dtype=np.int64)

    def add(self, ground: _Ground, score: Array) -> None:
        """Take the next rows."""
        block, truth, score = ground.judged_block, ground.truth[ground.judged], score[ground.judged]
        probability = np.nan_to_num(score)
        level = levels(probability)
        self.histogram += np.bincount(truth * self.histogram.shape[1] + level, minlength=self.histogram.size).reshape(
            2, -1
        )
        probability = probability.astype(np.float64)
        bin_ = np.minimum((probability * self._bins).astype(np.int64), self._bins - 1)
        calibration = [by_block(block, bin_, self._bins, weights) for weights in (None, truth, probability)]
        counts = {
            "calibration": np.stack(calibration, -1),
            "squared_error": by_block(block, 0, 1, np.square(probability - truth)),
            "no_prediction": by_block(block, 0, 1, np.isnan(score)),
        }
        _add_all(self.totals, counts)


class _Cut:
    """What a map says at its thresholds, summed by block."""

    def __init__(self, of: Map) -> None:
        self._of = of
        self.totals: dict[str, Array] = {}
        self.patches = Patches()
        self._hits = [np.zeros(0, np.int64)]

    def add(self, ground: _Ground, score: Array, parts: Array) -> None:
        """Take the next rows: ``score`` of the outer ones, and for each landslide pixel the number of its part of a landslide
        among those of these rows ``(pixel,)``, from 0."""
        outer = ground.judged_outer & (score >= self._of.thresholds[ground.networks_outer])
        mapped, band = outer[ground.core], boundary_band(outer, ground.judged_outer, ground.halo)[ground.core]
        judged, block, truth = ground.judged, ground.judged_block, ground.truth[ground.judged]
        self.patches.add(mapped, ground.truth, ground.block)
        self._hits.append(np.bincount(parts[mapped[ground.truth]], minlength=int(parts.max(initial=-1)) + 1))
        counts = {"confusion": by_block(block, truth * 2 + mapped[judged], 4)}
        for name, joined in (("boundary_both", np.logical_and), ("boundary_either", np.logical_or)):
            counts[name] = by_block(block, 0, 1, joined(ground.boundary, band)[judged])
        if self._of.uncertainty is not None:
            predicted = ~np.isnan(score[ground.core][judged])
            wrong = (truth != mapped[judged])[predicted]
            unsure = self._of.uncertainty(ground.rows)[judged][predicted]
            counts["uncertainty"] = _count_errors(block[predicted], wrong, unsure)
        _add_all(self.totals, counts)

    def hits(self, whole: Array) -> Array:
        """How many pixels of each landslide are mapped ``(landslide,)``; ``whole``: the landslide of each part."""
        return np.bincount(whole, np.concatenate(self._hits)).astype(np.int64)


def _tally(scene: Scene, graded: _Graded, cut: _Cut, landslides: pd.DataFrame, settings: EvaluateSettings) -> Tally:
    """The sum of all rows."""
    table = _sized(landslides, scene, settings)
    table["mapped_frac"] = table["hit_pixels"] / table["pixels"]
    found = table[table["mapped_frac"] >= settings.object_found_frac]
    false_patches = _sized(cut.patches.table(), scene, settings).query("hit_pixels == 0")
    blocks = _blocks(graded.totals | cut.totals, table, found, false_patches, scene)
    return Tally(blocks, graded.histogram, table[["block", "row_px", "column_px", "area_m2", "mapped_frac"]])


def levels(probability: Array) -> Array:
    """The level of each probability: k, where k / 1000 is the highest of `CURVE_THRESHOLDS` that it reaches.

    >>> levels(np.array([0, 0.0015, 1], np.float32))
    array([   0,    1, 1000])
    """
    if probability.size and not 0 <= probability.min() <= probability.max() <= 1:
        raise MetricsError("the map holds scores outside 0..1, so it is no probability; make it again.")
    return np.asarray(np.searchsorted(CURVE_THRESHOLDS, probability, side="right") - 1)


def _blocks(
    totals: Mapping[str, Array], objects: pd.DataFrame, found: pd.DataFrame, false: pd.DataFrame, scene: Scene
) -> Blocks:
    """The blocks that hold a scored pixel, from totals ``(block id, ...)`` and from patches."""
    used = np.flatnonzero(totals["confusion"].sum(1))
    confusion = totals["confusion"][used].reshape(-1, 2, 2)

    def per_block(patches: pd.DataFrame) -> Array:
        return np.bincount(patches["block"], minlength=len(totals["confusion"]))[used]

    folds = np.asarray(scene.area.folds)[used]
    uncertainty = totals.get("uncertainty", np.zeros((0, 0)))
    unpredicted = np.zeros((len(totals["confusion"]) - len(uncertainty), uncertainty.shape[1]), uncertainty.dtype)
    return Blocks(
        block=used,
        fold=np.where(folds < MAX_FOLDS, folds + 1, 0),
        confusion=confusion,
        boundary_px=np.concatenate([totals["boundary_both"], totals["boundary_either"]], axis=1)[used],
        calibration=totals["calibration"][used],
        squared_error=totals["squared_error"][used, 0],
        objects=np.stack([per_block(objects), per_block(found)], axis=1),
        false_objects=per_block(false),
        area_km2=confusion.sum((1, 2)) * scene.pixel_m2 / 1e6,
        no_prediction_px=totals["no_prediction"][used, 0].astype(np.int64),
        uncertainty=np.concatenate([uncertainty, unpredicted])[used].reshape(len(used), 2, uncertainty.shape[1] // 2),
        instances=np.zeros((len(used), 0)),
    )


def _count_errors(block: Array, wrong: Array, uncertainty: Array) -> Array:
    """Right and wrong pixels ``(pixel,)`` by level of uncertainty: ``(block id, 2 * level)``."""
    level = np.searchsorted(UNCERTAINTIES, np.clip(uncertainty, 0, 1), side="right") - 1
    return by_block(block, wrong * len(UNCERTAINTIES) + level, 2 * len(UNCERTAINTIES))


def by_block(block: Array, key: Array | int, keys: int, weights: Array | None = None) -> Array:
    """How many pixels (or how much weight) each block has of each of ``keys`` keys: ``(block id, key)``."""
    size = (int(block.max(initial=-1)) + 1) * keys
    return np.bincount(block.astype(np.int64) * keys + key, weights, minlength=size).reshape(-1, keys)


def _add_all(totals: dict[str, Array], counts: Mapping[str, Array]) -> None:
    for name, part in counts.items():
        totals[name] = _add(totals[name], part) if name in totals else part


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
