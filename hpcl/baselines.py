"""The non-neural baselines that a network must beat: one slope threshold, and a classifier of single pixels that sees every band.

One of each is learnt for every fold, from the pixels that may teach the network of that fold, and maps its ground. The slope
threshold is chosen there too; the classifier's threshold for a fold comes from the maps of all other folds, as the network's
does. Test areas get the mean of the classifiers, and what at least half of the slope thresholds say. Unknown pixels (code 255)
teach nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from hpcl.calibration import points
from hpcl.calibration.counts import LEVELS, Counts
from hpcl.core.codes import MAX_FOLDS, TEST_AREA, UNKNOWN
from hpcl.core.records import FoldedArea, SlopeFacts, Thresholds
from hpcl.settings.baselines import BaselinesSettings
from hpcl.windows import strips

Array = npt.NDArray[Any]


class BaselinesError(ValueError):
    """Tiles from which no baseline can be learnt."""


@dataclass(frozen=True)
class Scene:
    """One area: ``bands`` float32 ``(band, row, column)``, NaN nodata; ``labels``, ``teaches`` codes ``(row, column)``; and where
    its folds lie.

    The arrays may be memory-mapped: they are only ever read in strips.
    """

    bands: Array
    labels: Array
    teaches: Array
    area: FoldedArea


@dataclass(frozen=True)
class SlopeThreshold:
    """Ground ``steeper`` (at least the threshold) or ``gentler`` (below it) is landslide."""

    threshold_deg: float
    direction: Literal["steeper", "gentler"]
    landslide_iou: float
    """On the ground that it was chosen on."""

    def map(self, slope_deg: Array) -> Array:
        """1 where landslide is mapped, 0 elsewhere, NaN where the slope is unknown; float32."""
        steep = slope_deg >= self.threshold_deg
        mapped = steep if self.direction == "steeper" else ~steep
        return np.where(np.isnan(slope_deg), np.nan, mapped).astype(np.float32)


def teaching_pixels(scene: Scene, rows: slice, code: int) -> Array:
    """Pixels of ``rows`` from which the baselines of the fold of this code learn, ``(row, column)`` bool."""
    return np.asarray(scene.teaches[rows] >> code & 1, bool) & (np.asarray(scene.labels[rows]) != UNKNOWN)


def judged_pixels(scene: Scene, rows: slice, code: int) -> Array:
    """Pixels of ``rows`` in the fold of this code, or with `TEST_AREA` in a test area, on which maps are scored, ``(row, column)``
    bool; maps of other ground serve nobody."""
    codes = scene.area.codes(rows, slice(0, scene.labels.shape[1]))
    return np.asarray((codes == code) & (np.asarray(scene.labels[rows]) != UNKNOWN))


def best_slope(scenes: Sequence[Scene], slope_band: int, code: int, settings: BaselinesSettings) -> SlopeThreshold:
    """The slope threshold and direction with the highest landslide IoU on what teaches the fold of this code. The gentlest wins a
    draw."""
    steps = int(np.ceil(90 / settings.slope_step_deg))
    candidates_deg = np.round(np.arange(steps + 1) * settings.slope_step_deg, 6)
    edges_deg = candidates_deg.astype(np.float32)  # the precision of the slopes: an edge is the same edge in `map`
    histogram, flat = np.zeros((2, steps + 1), dtype=np.int64), np.zeros(2, dtype=np.int64)
    for scene in scenes:
        for rows in strips(scene.labels.shape):
            taught = teaching_pixels(scene, rows, code)
            landslide = scene.labels[rows][taught] >= 1
            slope = scene.bands[slope_band, rows][taught]
            known = ~np.isnan(slope)
            level = np.clip(np.searchsorted(edges_deg, slope[known], side="right") - 1, 0, steps)
            histogram += histogram_by_truth(landslide[known], level, steps + 1)
            flat += np.bincount(landslide[~known], minlength=2)
    if not histogram[1].sum():
        raise BaselinesError(
            f"no landslide pixel with a known slope lies outside fold {code + 1}; change tile.seed, lower tile.block_px, or add an"
            " area whose inventory has landslides."
        )
    # What has no slope is mapped by neither direction, and a landslide there is missed by both.
    steeper = iou_by_threshold(histogram, flat[1])
    below = np.concatenate([np.zeros((2, 1), dtype=np.int64), histogram.cumsum(1)[:, :-1]], axis=1)
    gentler = below[1] / (below[0] + histogram[1].sum() + flat[1])
    if steeper.max() >= gentler.max():
        return SlopeThreshold(float(candidates_deg[steeper.argmax()]), "steeper", float(steeper.max()))
    return SlopeThreshold(float(candidates_deg[gentler.argmax()]), "gentler", float(gentler.max()))


def histogram_by_truth(landslide: Array, level: Array, levels: int) -> Array:
    """Pixels by truth and level, ``(2, level)``."""
    return np.bincount(landslide * levels + level, minlength=2 * levels).reshape(2, levels)


def iou_by_threshold(histogram: Array, missed: int = 0) -> Array:
    """Landslide IoU of mapping every level from k on, for every k; ``missed`` landslide pixels have no level.

    >>> iou_by_threshold(np.array([[6, 1], [1, 2]])).tolist()
    [0.3, 0.5]
    """
    mapped_background, mapped_landslide = histogram[:, ::-1].cumsum(1)[:, ::-1]
    return np.asarray(mapped_landslide / (mapped_background + histogram[1].sum() + missed))


def draw_pixels(scenes: Sequence[Scene], code: int, settings: BaselinesSettings) -> tuple[Array, Array]:
    """Bands ``(pixel, band)`` and truth ``(pixel,)`` bool of pixels that teach the fold of this code, drawn without replacement.

    Every such pixel of all areas is as likely as any other, so the classes come as often as they occur.
    """
    walk = [(scene, rows) for scene in scenes for rows in strips(scene.labels.shape)]
    counts = [int(teaching_pixels(scene, rows, code).sum()) for scene, rows in walk]
    ends = np.cumsum(counts)
    if not ends[-1]:
        raise BaselinesError(
            f"no labelled pixel lies outside fold {code + 1} and its gap; lower tile.gap_px or tile.block_px, or change tile.seed."
        )
    size = min(settings.pixels, int(ends[-1]))
    ranks = np.sort(np.random.default_rng(settings.seed).choice(ends[-1], size, replace=False, shuffle=False))
    bands, truth = [], []
    for (scene, rows), end, count in zip(walk, ends, counts, strict=True):
        chosen = ranks[np.searchsorted(ranks, end - count) : np.searchsorted(ranks, end)] - (end - count)
        row, column = (at[chosen] for at in np.nonzero(teaching_pixels(scene, rows, code)))
        bands.append(scene.bands[:, rows][:, row, column].T)
        truth.append(scene.labels[rows][row, column] >= 1)
    return np.concatenate(bands), np.concatenate(truth)


class PixelClassifier:
    """scikit-learn's gradient-boosted trees on the bands of single pixels; NaN bands are values of their own to it."""

    def __init__(self, scenes: Sequence[Scene], code: int, settings: BaselinesSettings) -> None:
        bands, truth = draw_pixels(scenes, code, settings)
        if not truth.any() or truth.all():
            raise BaselinesError(
                f"the {len(truth)} pixels drawn outside fold {code + 1} are all {'landslide' if truth.all() else 'background'};"
                " draw more (baselines.pixels), or change tile.seed."
            )
        self.pixels = len(truth)
        self._model = HistGradientBoostingClassifier(
            max_iter=settings.trees, learning_rate=settings.learning_rate, max_leaf_nodes=settings.leaves,
            early_stopping=False, random_state=settings.seed,
        )  # fmt: skip
        # The trees are the same with any number of threads, but these wait for each other at every node: beside other
        # work on the machine, one thread took 6 s for 200,000 pixels and 60 trees, several took 27 to 120 s.
        with threadpool_limits(1, user_api="openmp"):
            self._model.fit(bands, truth)

    def probability(self, bands: Array) -> Array:
        """Probability of landslide ``(pixel,)`` float32 by ``bands`` ``(band, pixel)``; NaN where no band holds a value."""
        found = np.full(bands.shape[1], np.nan, dtype=np.float32)
        known = ~np.isnan(bands).all(axis=0)
        if known.any():
            found[known] = self._model.predict_proba(bands[:, known].T)[:, 1]
        return found


class Baselines:
    """Both baselines of every fold."""

    def __init__(self, scenes: Sequence[Scene], slope_band: int, folds: int, settings: BaselinesSettings) -> None:
        self._slope_band = slope_band
        self.slopes = [best_slope(scenes, slope_band, code, settings) for code in range(folds)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # each of them learns on one core
            self.classifiers = list(threads.map(lambda code: PixelClassifier(scenes, code, settings), range(folds)))
        self._histogram = np.zeros((folds, 2, LEVELS), np.int64)

    def map(
        self, scene: Scene, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Iterator[tuple[slice, Mapping[str, Array]]]:
        """Both baselines' scores for the judged ground of an area, strip by strip: rows, and ``(row, column)`` by name of the
        baseline, NaN elsewhere. What the classifiers say of ground in folds is counted for their thresholds."""
        everyone = range(len(self.slopes))
        for rows in strips(scene.labels.shape):
            maps = np.full((2, *scene.labels[rows].shape), np.nan, np.float32)
            for code in (*everyone, TEST_AREA):
                here = judged_pixels(scene, rows, code)
                if here.any():
                    learnt = [code] if code < MAX_FOLDS else everyone
                    maps[:, here] = self._of_pixels(scene.bands[:, rows][:, here], learnt)
                if code < MAX_FOLDS:
                    self._count(code, scene.labels[rows][here] >= 1, maps[1, here])
            yield rows, {"slope_threshold": maps[0], "pixel_classifier": maps[1]}
            progress(rows.stop, scene.labels.shape[0])

    def _of_pixels(self, bands: Array, codes: Sequence[int]) -> Array:
        """Slope map and probability ``(2, pixel)`` of pixels ``(band, pixel)``, by what folds of these codes have learnt."""
        slope = np.mean([self.slopes[code].map(bands[self._slope_band]) for code in codes], axis=0)
        probability = np.mean([self.classifiers[code].probability(bands) for code in codes], axis=0)
        return np.stack([np.where(np.isnan(slope), np.nan, slope >= 0.5), probability])

    def _count(self, code: int, landslide: Array, probability: Array) -> None:
        """Count pixels ``(pixel,)`` of a fold. What has no probability is mapped at no threshold."""
        edges = (np.arange(LEVELS) / (LEVELS - 1)).astype(np.float32)
        level = np.searchsorted(edges, np.nan_to_num(probability), side="right") - 1
        self._histogram[code] += histogram_by_truth(landslide, level, LEVELS)

    def thresholds(self) -> Thresholds:
        """The classifiers' thresholds of the highest landslide IoU on the ground of the other folds, once all areas are mapped."""
        nothing = np.zeros((len(self.slopes) + 1, LEVELS), np.int64)
        return points.chosen(Counts(self._histogram, nothing), "best_iou")[0]

    def slope_facts(self) -> list[SlopeFacts]:
        """What the slope thresholds are, by fold."""
        return [SlopeFacts(**vars(slope)) for slope in self.slopes]
