"""Operating points: which threshold gives what was asked for, nested so that none is chosen on the ground that it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.calibration.counts import LEVELS, CalibrationError, Counts
from hpcl.core.codes import ALL_NETWORKS
from hpcl.core.records import Thresholds
from hpcl.settings.outline import AtMisses, AtPrecision, AtRecall, OperatingPoint

Array = npt.NDArray[Any]

KINDS: dict[str, Callable[[float], OperatingPoint]] = {
    "precision": AtPrecision,
    "recall": AtRecall,
    "misses_one_in": AtMisses,
    "probability": float,
}


def chosen(counts: Counts, point: OperatingPoint) -> tuple[Thresholds, bool]:
    """The thresholds of an operating point, and whether each of them gives what was asked for; otherwise it is the nearest.

    That of fold k comes from the counts of all other folds, that of ground in no fold from those of all. The labels of fold k
    thus reach its threshold by one way alone: the networks that mapped the others learnt from them. Raises
    `CalibrationError` where the counts hold no landslide.
    """
    found = [_threshold(counts, network, point) for network in range(counts.folds + 1)]
    elsewhere, *by_fold = (threshold for threshold, _ in found)
    return Thresholds(by_fold=by_fold, elsewhere=elsewhere), all(reached for _, reached in found)


def name_of(point: OperatingPoint) -> str:
    """An operating point in words.

    >>> name_of("best_iou"), name_of(AtPrecision(0.8)), name_of(AtMisses(10)), name_of(0.4)
    ('best_iou', 'precision 0.8', 'misses_one_in 10', 'probability 0.4')
    """
    match point:
        case AtPrecision(value):
            kind = "precision"
        case AtRecall(value):
            kind = "recall"
        case AtMisses(value):
            kind = "misses_one_in"
        case float(value):
            kind = "probability"
        case _:
            return point
    return f"{kind} {np.format_float_positional(value, trim='-')}"


def of_name(name: str) -> OperatingPoint:
    """The operating point that is called so.

    >>> of_name("recall 0.9"), of_name("probability 0.4")
    (AtRecall(recall=0.9), 0.4)
    """
    kind, _, value = name.partition(" ")
    try:
        return "best_iou" if name == "best_iou" else KINDS[kind](float(value))
    except (KeyError, ValueError) as error:
        raise CalibrationError(f"{name!r} is no operating point; draw the map again (dvc repro outline).") from error


def _threshold(counts: Counts, network: int, point: OperatingPoint) -> tuple[float, bool]:
    """The threshold for ground that a network maps, and whether it gives what was asked for."""
    if isinstance(point, float):
        return point, True
    others = [fold for fold in range(1, counts.folds + 1) if fold != network]
    histogram, objects = counts.histogram[np.subtract(others, 1)].sum(0), counts.objects[network]
    served = "all ground" if network == ALL_NETWORKS else f"fold {network}"
    if not histogram[1].any():
        raise CalibrationError(
            f"No ground that may choose a threshold for {served} shows a landslide; change tile.seed, or lower tile.block_px or"
            " tile.folds."
        )
    if isinstance(point, AtMisses) and not objects.any():
        raise CalibrationError(
            f"No landslide that may choose a threshold for {served} counts as an object, so {name_of(point)} has no threshold;"
            " choose another outline.operating_point, or lower evaluate.object_minimum_area_m2."
        )
    level, reached = _level(histogram, objects, point)
    return level / (LEVELS - 1), reached


def _level(histogram: Array, objects: Array, point: OperatingPoint) -> tuple[int, bool]:
    """The level of an operating point. Not level 0: from there on ground without a prediction would be mapped too."""
    alarms, hits = _from_level_on(histogram)
    mapped = np.maximum(alarms + hits, 1)
    match point:
        case AtPrecision():
            precision = hits / mapped
            enough = precision >= point.precision
            return (_lowest(enough), True) if enough.any() else (1 + int(precision.argmax()), False)
        case AtRecall():
            return _highest(hits / histogram[1].sum() >= point.recall)
        case AtMisses():
            missed = objects.sum() - _from_level_on(objects)
            return _highest(missed * point.misses_one_in <= objects.sum())
        case _:
            iou = hits / (alarms + histogram[1].sum())
            best = np.flatnonzero(iou == iou.max())
            return 1 + int(
                best[len(best) // 2]
            ), True  # a plateau's middle is farthest from where other ground may fall off it


def _from_level_on(counts: Array) -> Array:
    """How many are at each level or above, from level 1."""
    return counts[..., ::-1].cumsum(-1)[..., ::-1][..., 1:]


def _lowest(enough: Array) -> int:
    return 1 + int(enough.argmax())


def _highest(enough: Array) -> tuple[int, bool]:
    """The highest level that is enough; the lowest of all is nearest where none is, for what is found only shrinks."""
    return (len(enough) - int(enough[::-1].argmax()), True) if enough.any() else (1, False)


def told_nothing(counts: Counts) -> list[str]:
    """A sentence for each fold of which the best threshold, by its own ground, says landslide everywhere or nowhere. It looks at
    what one network mapped, and chooses nothing."""
    told = []
    for fold, histogram in enumerate(counts.histogram, start=1):
        if not histogram[1].any():
            continue
        level, _ = _level(histogram, counts.objects[ALL_NETWORKS], "best_iou")
        if not 2 < level < LEVELS - 3:
            told.append(
                f"Fold {fold}: the best threshold, {level / (LEVELS - 1):.3g}, lies at the end of its range, so that a map says"
                f" {'landslide' if level < LEVELS / 2 else 'no landslide'} nearly everywhere: the network does not tell landslides"
                " from other ground; look at reports/train/curves.csv, train.learning_rate and the labels."
            )
    return told
