"""The non-neural baselines that a network must beat: one slope threshold, and a classifier of single pixels that sees every band.

Both learn from pixels of the train split alone. The slope threshold is chosen there too; the classifier's threshold is
chosen on validation pixels, as the network's is. Unknown pixels (code 255) teach nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from hpcl.core.codes import TEST, TRAIN, UNKNOWN, VALIDATION
from hpcl.settings.baselines import BaselinesSettings
from hpcl.windows import strips

Array = npt.NDArray[Any]


LEVELS = 1000
"""Candidates for the classifier's threshold lie 1 / LEVELS apart."""


class BaselinesError(ValueError):
    """Tiles from which no baseline can be learnt."""


@dataclass(frozen=True)
class Scene:
    """One area: ``bands`` float32 ``(band, row, column)``, NaN nodata; ``labels``, ``split`` codes ``(row, column)``.

    The arrays may be memory-mapped: they are only ever read in strips.
    """

    bands: Array
    labels: Array
    split: Array


@dataclass(frozen=True)
class SlopeThreshold:
    """Ground ``steeper`` (at least the threshold) or ``gentler`` (below it) is landslide."""

    threshold_deg: float
    direction: Literal["steeper", "gentler"]
    train_landslide_iou: float

    def map(self, slope_deg: Array) -> Array:
        """1 where landslide is mapped, 0 elsewhere, NaN where the slope is unknown; float32."""
        steep = slope_deg >= self.threshold_deg
        mapped = steep if self.direction == "steeper" else ~steep
        return np.where(np.isnan(slope_deg), np.nan, mapped).astype(np.float32)


def known_pixels(scene: Scene, rows: slice, split: int) -> Array:
    """Pixels of ``rows`` that are in ``split`` and whose label is known, ``(row, column)`` bool."""
    return np.asarray((scene.split[rows] == split) & (scene.labels[rows] != UNKNOWN))


def judged_pixels(scene: Scene, rows: slice) -> Array:
    """Pixels of ``rows`` on which a map is chosen or scored, ``(row, column)`` bool; maps of other ground serve nobody."""
    return known_pixels(scene, rows, VALIDATION) | known_pixels(scene, rows, TEST)


def best_slope(scenes: Sequence[Scene], slope_band: int, settings: BaselinesSettings) -> SlopeThreshold:
    """The slope threshold and direction with the highest landslide IoU on the train split. The gentlest wins a draw."""
    steps = int(np.ceil(90 / settings.slope_step_deg))
    candidates_deg = np.round(np.arange(steps + 1) * settings.slope_step_deg, 6)
    edges_deg = candidates_deg.astype(np.float32)  # the precision of the slopes: an edge is the same edge in `map`
    histogram, flat = np.zeros((2, steps + 1), dtype=np.int64), np.zeros(2, dtype=np.int64)
    for scene in scenes:
        for rows in strips(scene.labels.shape):
            train = known_pixels(scene, rows, TRAIN)
            landslide = scene.labels[rows][train] >= 1
            slope = scene.bands[slope_band, rows][train]
            known = ~np.isnan(slope)
            level = np.clip(np.searchsorted(edges_deg, slope[known], side="right") - 1, 0, steps)
            histogram += histogram_by_truth(landslide[known], level, steps + 1)
            flat += np.bincount(landslide[~known], minlength=2)
    if not histogram[1].sum():
        raise BaselinesError(
            "the train split holds no landslide pixel with a known slope; choose another split (section 'tile' of "
            "params.yaml) or add an area whose train blocks hold landslides."
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


def draw_pixels(scenes: Sequence[Scene], settings: BaselinesSettings) -> tuple[Array, Array]:
    """Bands ``(pixel, band)`` and truth ``(pixel,)`` bool of train pixels drawn without replacement.

    Every known train pixel of all areas is as likely as any other, so the classes come as often as they occur.
    """
    walk = [(scene, rows) for scene in scenes for rows in strips(scene.labels.shape)]
    counts = [int(known_pixels(scene, rows, TRAIN).sum()) for scene, rows in walk]
    ends = np.cumsum(counts)
    if not ends[-1]:
        raise BaselinesError("the train split holds no known pixel; choose another split (params.yaml: tile).")
    size = min(settings.pixels, int(ends[-1]))
    ranks = np.sort(np.random.default_rng(settings.seed).choice(ends[-1], size, replace=False, shuffle=False))
    bands, truth = [], []
    for (scene, rows), end, count in zip(walk, ends, counts, strict=True):
        chosen = ranks[np.searchsorted(ranks, end - count) : np.searchsorted(ranks, end)] - (end - count)
        row, column = (at[chosen] for at in np.nonzero(known_pixels(scene, rows, TRAIN)))
        bands.append(scene.bands[:, rows][:, row, column].T)
        truth.append(scene.labels[rows][row, column] >= 1)
    return np.concatenate(bands), np.concatenate(truth)


class PixelClassifier:
    """scikit-learn's gradient-boosted trees on the bands of single pixels; NaN bands are values of their own to it."""

    def __init__(self, scenes: Sequence[Scene], settings: BaselinesSettings) -> None:
        bands, truth = draw_pixels(scenes, settings)
        if not truth.any() or truth.all():
            raise BaselinesError(
                f"the {len(truth)} train pixels drawn are all {'landslide' if truth.all() else 'background'}; "
                "choose another split (section 'tile' of params.yaml) or draw more (baselines.pixels)."
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

    def probability(self, scene: Scene, rows: slice) -> Array:
        """Probability of landslide ``(row, column)`` float32 on `judged_pixels`; NaN elsewhere, and where no band holds a
        value."""
        judged = judged_pixels(scene, rows)
        found = np.full(judged.shape, np.nan, dtype=np.float32)
        pixels = scene.bands[:, rows][:, judged].T
        known = ~np.isnan(pixels).all(axis=1)
        if known.any():
            scores = np.full(len(pixels), np.nan, dtype=np.float32)
            scores[known] = self._model.predict_proba(pixels[known])[:, 1]
            found[judged] = scores
        return found


class ValidationThreshold:
    """Collects validation pixels strip by strip; then says which threshold gives the highest landslide IoU on them."""

    def __init__(self) -> None:
        self._histogram = np.zeros((2, LEVELS + 1), dtype=np.int64)
        self._thresholds = (np.arange(LEVELS + 1) / LEVELS).astype(np.float32)

    def add(self, scene: Scene, rows: slice, probability: Array) -> None:
        """Take the validation pixels of these rows. What has no probability is mapped at no threshold."""
        known = known_pixels(scene, rows, VALIDATION)
        level = np.searchsorted(self._thresholds, np.nan_to_num(probability[known]), side="right") - 1
        self._histogram += histogram_by_truth(scene.labels[rows][known] >= 1, level, LEVELS + 1)

    def best(self) -> tuple[float, float]:
        """The threshold, and its landslide IoU on the validation split."""
        if not self._histogram[1].sum():
            raise BaselinesError(
                "the validation split holds no landslide pixel, so the classifier's threshold cannot be chosen; choose "
                "another split (section 'tile' of params.yaml) or add an area whose validation blocks hold landslides."
            )
        iou = iou_by_threshold(self._histogram)[1:]  # a threshold of 0 would map ground without a prediction too
        return float((iou.argmax() + 1) / LEVELS), float(iou.max())


def map_scene(
    scene: Scene,
    slope_band: int,
    slope: SlopeThreshold,
    classifier: PixelClassifier,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[tuple[slice, Mapping[str, Array]]]:
    """Both baselines' scores for the judged ground of an area, strip by strip: rows, and ``(row, column)`` by name of the
    baseline, NaN elsewhere."""
    for rows in strips(scene.labels.shape):
        probability = classifier.probability(scene, rows)
        slope_map = slope.map(np.where(judged_pixels(scene, rows), scene.bands[slope_band, rows], np.nan))
        yield rows, {"slope_threshold": slope_map, "pixel_classifier": probability}
        progress(rows.stop, scene.labels.shape[0])
