"""Scores of several maps with intervals from resampled blocks, and how far one is ahead of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.metrics import instances
from hpcl.metrics.pixels import expected_calibration_error, ratio, scores
from hpcl.metrics.records import Lead, MapScores
from hpcl.metrics.tally import Blocks, MetricsError
from hpcl.settings.evaluate import EvaluateSettings

Array = npt.NDArray[Any]


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
    if blocks.instances.shape[1]:
        found |= instances.scores(total(blocks.instances))
    return found | {
        "object_detection_rate": np.where(known > 0, ratio(mapped, known), np.nan),
        "boundary_iou": np.where(either > 0, ratio(both, either), np.nan),
        "false_objects_per_km2": ratio(total(blocks.false_objects), total(blocks.area_km2)),
        "ece": expected_calibration_error(total(blocks.calibration)),
        "brier": ratio(total(blocks.squared_error), pixels),
    }


def spread(draws: Array, blocks: int, settings: EvaluateSettings) -> tuple[float, float]:
    """The `interval` of draws of ``blocks`` blocks; of one block it is NaN, for that says nothing about the spread between blocks."""
    return interval(draws, settings) if blocks > 1 else (float("nan"), float("nan"))


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

    ``names``: the scores wanted for each map.
    """
    first, *others = maps
    blocks = maps[first]
    truth = blocks.confusion.sum(-1)
    if not truth[:, 1].sum():
        raise MetricsError(
            "the scored ground holds no landslide pixel, so no map can be scored on it; add an area whose inventory has"
            " landslides."
        )
    for name in others:
        if not np.array_equal(maps[name].confusion.sum(-1), truth):
            raise ArithmeticError(f"{first} and {name} were counted on different pixels")
    weights = resample(len(truth), settings)
    once = np.ones((1, len(truth)), dtype=np.int64)
    values = {name: block_scores(maps[name], once) for name in maps}
    draws = {name: block_scores(maps[name], weights) for name in maps}

    found, leads = {}, {}
    for name in maps:
        reached: dict[str, Any] = {score: float(values[name][score][0]) for score in names[name]}
        reached |= {f"{score}_interval": spread(draws[name][score], len(truth), settings) for score in names[name]}
        found[name] = MapScores(**reached)
    for name in others:
        lead = values[first]["landslide_iou"] - values[name]["landslide_iou"]
        leads[name] = Lead(
            landslide_iou_difference=float(lead[0]),
            interval=spread(draws[first]["landslide_iou"] - draws[name]["landslide_iou"], len(truth), settings),
        )
    return found, leads
