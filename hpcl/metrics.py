"""Scores of a landslide map on the test split: pixels, objects, boundaries, calibration, and how sure they are.

Everything is counted block by block of the split map while the scene passes in strips, so memory does not grow with it.
Scores come from counts **summed over the whole split**, never from an average over windows. Intervals come from
resampling blocks, because the pixels of one hillside are no independent witnesses.

Four rules hold throughout: a class code >= 1 is landslide; an unknown pixel (code 255) is not scored; a pixel of the
test split without a prediction (NaN) was mapped as background with probability 0, and is counted; patches are
8-connected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, sparse

from hpcl.core.codes import TEST, UNKNOWN
from hpcl.core.scores import Lead, MapScores
from hpcl.settings.evaluate import EvaluateSettings
from hpcl.windows import strips

Array = npt.NDArray[Any]


CURVE_THRESHOLDS = (np.arange(1001) / 1000).astype(np.float32)
"""Thresholds of the precision-recall curve; float32 as the scores are, so that ``score >= threshold`` is one thing."""


class MetricsError(ValueError):
    """A split or a map that cannot be scored."""


# ---- pixels ----------------------------------------------------------------------------------------------------------


def scores(confusion: Array) -> dict[str, Array]:
    """Pixel scores of confusion matrices ``(..., K, K)`` of pixels, indexed ``[truth, mapped]``; class 0 is background.

    All of them are of landslide (any class >= 1) against the rest, except ``miou``: the mean IoU of those of the K
    classes that occur. Where nothing is mapped, precision is 0, as in scikit-learn; where MCC or kappa are 0/0, they
    are 0. A matrix without a landslide in its truth has no scores: NaN.

    >>> found = scores(np.array([[6, 1], [1, 2]]))
    >>> float(found["landslide_iou"]), float(found["miou"]), float(found["accuracy"])
    (0.5, 0.625, 0.8)
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    tn, fp = matrix[..., 0, 0], matrix[..., 0, 1:].sum(-1)
    fn, tp = matrix[..., 1:, 0].sum(-1), matrix[..., 1:, 1:].sum((-2, -1))
    total = tn + fp + fn + tp
    chance = (tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)
    margins = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)

    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    union = matrix.sum(-1) + matrix.sum(-2) - right
    found = {
        "landslide_iou": _ratio(tp, tp + fp + fn),
        "miou": _ratio(_ratio(right, union).sum(-1), (union > 0).sum(-1)),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "mcc": _ratio(tp * tn - fp * fn, margins),
        "kappa": _ratio(total * (tp + tn) - chance, total * total - chance),
        "accuracy": _ratio(tp + tn, total),
    }
    _check_identities(found, binary=matrix.shape[-1] == 2)
    return {name: np.where(tp + fn > 0, score, np.nan) for name, score in found.items()}


def _ratio(part: Array, whole: Array) -> Array:
    """``part / whole``, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


def _check_identities(found: Mapping[str, Array], *, binary: bool) -> None:
    """What must hold between scores of one confusion matrix, whatever was mapped; a breach is a bug, not bad input.

    Landslide F1 = 2 IoU / (1 + IoU) always; mIoU <= accuracy with two classes (with more, a rare class that is mapped
    well can lift the mean above it).
    """
    iou = found["landslide_iou"]
    if not np.allclose(found["f1"], 2 * iou / (1 + iou), rtol=0, atol=1e-9):
        raise ArithmeticError("landslide F1 is not 2 IoU / (1 + IoU): they come from different pixels")
    if binary and not np.all(found["miou"] <= found["accuracy"] + 1e-9):
        raise ArithmeticError("mean IoU exceeds accuracy: they come from different pixels")


def curve(histogram: Array) -> pd.DataFrame:
    """Precision, recall, F1 and landslide IoU at every threshold that still maps a pixel.

    ``histogram``: pixels by truth and score, ``(2, thresholds)``, as `Tally` holds it.
    """
    (fp, tp), positives = histogram[:, ::-1].cumsum(1)[:, ::-1], histogram[1].sum()
    table = pd.DataFrame(
        {
            "threshold": np.arange(histogram.shape[1]) / (histogram.shape[1] - 1),
            "precision": _ratio(tp, tp + fp),
            "recall": _ratio(tp, positives),
            "f1": _ratio(2 * tp, tp + fp + positives),
            "landslide_iou": _ratio(tp, fp + positives),
        }
    )
    return table[tp + fp > 0]


# ---- calibration -----------------------------------------------------------------------------------------------------


def expected_calibration_error(calibration: Array) -> Array:
    """Mean distance of a bin's probability from its share of landslide, weighted by pixels (Naeini et al., AAAI 2015).

    ``calibration``: ``(..., bin, 3)``: pixels, landslide pixels and the sum of probabilities of every bin.
    """
    pixels, landslide, probability = np.moveaxis(np.asarray(calibration, dtype=np.float64), -1, 0)
    return _ratio(np.abs(probability - landslide).sum(-1), pixels.sum(-1))


def reliability(calibration: Array) -> pd.DataFrame:
    """The reliability diagram as a table: one row for every bin of ``calibration`` ``(bin, 3)`` that holds a pixel."""
    pixels, landslide, probability = np.asarray(calibration, dtype=np.float64).T
    edges = np.linspace(0, 1, len(pixels) + 1)
    table = pd.DataFrame(
        {
            "from_probability": edges[:-1],
            "to_probability": edges[1:],
            "pixels": pixels.astype(np.int64),
            "mean_probability": _ratio(probability, pixels),
            "landslide_frac": _ratio(landslide, pixels),
        }
    )
    return table[pixels > 0]


# ---- boundaries ------------------------------------------------------------------------------------------------------


def boundary_band(mask: Array, known: Array, width_px: int) -> Array:
    """Pixels of ``mask`` within ``width_px`` (chessboard distance) of its boundary, ``(row, column)`` bool.

    Boundary IoU (Cheng et al., arXiv 2103.16562) compares these bands of map and truth. Only a step from mask to
    non-mask among ``known`` pixels is a boundary: the edge of the scene, of the split and of unknown ground is none.
    """
    solid = (mask | ~known).astype(np.uint8)
    inside = ndimage.minimum_filter(solid, size=2 * width_px + 1, mode="constant", cval=1)
    return np.asarray(mask & known & (inside == 0))


# ---- objects ---------------------------------------------------------------------------------------------------------


class Patches:
    """Connected patches of a mask that arrives in strips from north to south, and what lies on each of them.

    Memory grows with the number of patches, not with the scene: patches of neighbouring strips that touch are noted as
    pairs, and joined at the end.
    """

    _COLUMNS = ("row_px", "column_px", "pixels", "hit_pixels", "block")

    def __init__(self) -> None:
        self._rows = 0
        self._count = 0
        self._last: Array | None = None
        self._parts: list[Array] = [np.zeros((0, len(self._COLUMNS)), dtype=np.int64)]
        self._pairs: list[Array] = [np.zeros((0, 2), dtype=np.int64)]

    def add(self, mask: Array, hit: Array, block: Array) -> None:
        """Take the next rows: ``mask`` and ``hit`` bool, ``block`` int, each ``(row, column)``."""
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)), output=np.int64)
        at = np.flatnonzero(labels)
        patch = labels.ravel()[at] - 1
        first = np.zeros(count, dtype=np.int64)
        first[patch[::-1]] = at[::-1]  # of the writes to one element the last stays: the northernmost pixel
        row, column = np.divmod(first, mask.shape[1])
        pixels = np.bincount(patch, minlength=count)
        hit_pixels = np.bincount(patch, weights=hit.ravel()[at], minlength=count).astype(np.int64)
        part = np.stack([self._rows + row, column, pixels, hit_pixels, block.ravel()[first]], axis=1)
        labels[labels > 0] += self._count
        if self._last is not None:
            self._pairs.extend(_touching(self._last, labels[0]))
        self._parts.append(part)
        self._last = labels[-1].copy()  # a view would keep the whole strip
        self._rows += len(mask)
        self._count += count

    def table(self) -> pd.DataFrame:
        """One row a patch, north to south: ``row_px, column_px, block`` of its first pixel; ``pixels, hit_pixels``."""
        a, b = np.concatenate(self._pairs).T - 1
        links = sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(self._count, self._count))
        _, patch = sparse.csgraph.connected_components(links, directed=False)
        parts = pd.DataFrame(np.concatenate(self._parts), columns=list(self._COLUMNS)).assign(patch=patch)
        parts = parts.sort_values(["row_px", "column_px"], kind="stable")
        how = {"row_px": "first", "column_px": "first", "pixels": "sum", "hit_pixels": "sum", "block": "first"}
        return parts.groupby("patch", sort=False).agg(how).reset_index(drop=True)


def _touching(above: Array, below: Array) -> Iterator[Array]:
    """Pairs of patches, numbered from 1, that meet across two neighbouring rows, corners included."""
    width = len(above)
    for shift in (-1, 0, 1):
        upper = above[max(0, -shift) : width - max(0, shift)]
        lower = below[max(0, shift) : width - max(0, -shift)]
        both = (upper > 0) & (lower > 0)
        yield np.unique(np.stack([upper[both], lower[both]], axis=1), axis=0)


# ---- counting --------------------------------------------------------------------------------------------------------


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


def size_class(area_m2: Array, edges_m2: Sequence[float]) -> list[str]:
    """The name of each object's size class.

    >>> size_class(np.array([50.0, 100.0, 5000.0]), [100.0, 1000.0])
    ['below 100 m2', '100 to 1000 m2', 'from 1000 m2']
    """
    edges = sorted(edges_m2)
    middle = [f"{a:g} to {b:g} m2" for a, b in pairwise(edges)]
    names = [f"below {edges[0]:g} m2", *middle, f"from {edges[-1]:g} m2"] if edges else ["all"]
    return [names[i] for i in np.searchsorted(edges, area_m2, side="right")]


# ---- scores with intervals -------------------------------------------------------------------------------------------


def resample(blocks: int, settings: EvaluateSettings) -> Array:
    """How often each of ``blocks`` blocks is drawn in each bootstrap resample: ``(resample, block)``.

    Drawing n of n blocks with replacement is a multinomial draw. One table serves all maps, so differences are paired.
    """
    rng = np.random.default_rng(settings.seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=settings.resamples)


def block_scores(blocks: Blocks, weights: Array) -> dict[str, Array]:
    """Every score ``(resample,)`` of the sum of ``blocks``, each as often as ``weights`` ``(resample, block)`` says."""

    def total(counts: Array) -> Array:
        return np.tensordot(weights.astype(np.float64), counts, axes=1)

    found = scores(total(blocks.confusion))
    both, either = total(blocks.boundary_px).T
    known, mapped = total(blocks.objects).T
    pixels = total(blocks.confusion).sum((1, 2))
    return found | {
        "object_detection_rate": np.where(known > 0, _ratio(mapped, known), np.nan),
        "boundary_iou": np.where(either > 0, _ratio(both, either), np.nan),
        "false_objects_per_km2": _ratio(total(blocks.false_objects), total(blocks.area_km2)),
        "ece": expected_calibration_error(total(blocks.calibration)),
        "brier": _ratio(total(blocks.squared_error), pixels),
    }


def interval(draws: Array, settings: EvaluateSettings) -> tuple[float, float]:
    """Percentile interval of bootstrap draws; draws without a score (NaN: no landslide was drawn) are left out."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    tail = (1 - settings.confidence_frac) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def summarise(
    maps: Mapping[str, Blocks], names: Mapping[str, Sequence[str]], settings: EvaluateSettings
) -> tuple[dict[str, MapScores], dict[str, Lead]]:
    """Scores of several maps of the same blocks, with intervals, and how far the first is ahead of each of the others.

    ``names``: the scores wanted for each map. One block says nothing about the spread between blocks: its intervals
    are NaN.
    """
    first, *others = maps
    blocks = maps[first]
    truth = blocks.confusion.sum(-1)
    if not truth[:, 1].sum():
        raise MetricsError(
            "the test split holds no landslide pixel, so no map can be scored on it; choose another split (section "
            "'tile' of params.yaml) or add an area whose test blocks hold landslides."
        )
    for name in others:
        if not np.array_equal(maps[name].confusion.sum(-1), truth):
            raise ArithmeticError(f"{first} and {name} were counted on different pixels")
    weights = resample(len(truth), settings)
    once = np.ones((1, len(truth)), dtype=np.int64)
    values = {name: block_scores(maps[name], once) for name in maps}
    draws = {name: block_scores(maps[name], weights) for name in maps}

    def spread(samples: Array) -> tuple[float, float]:
        return interval(samples, settings) if len(truth) > 1 else (float("nan"), float("nan"))

    found, leads = {}, {}
    for name in maps:
        reached: dict[str, Any] = {score: float(values[name][score][0]) for score in names[name]}
        reached |= {f"{score}_interval": spread(draws[name][score]) for score in names[name]}
        found[name] = MapScores(**reached)
    for name in others:
        lead = values[first]["landslide_iou"] - values[name]["landslide_iou"]
        leads[name] = Lead(
            landslide_iou_difference=float(lead[0]),
            interval=spread(draws[first]["landslide_iou"] - draws[name]["landslide_iou"]),
        )
    return found, leads
