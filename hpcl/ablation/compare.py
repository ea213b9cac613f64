"""The ablation: what each component buys. A training is that of one fold with one seed; with one seed the trainings of all folds
make one map of all ground. The table compares these maps, with trainings and ground resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from hpcl.ablation.records import CONFUSION, COUNTS
from hpcl.core.records import TileFacts
from hpcl.metrics import intervals, pixels
from hpcl.settings.evaluate import EvaluateSettings

Array = npt.NDArray[Any]

SCORES = ["boundary_iou", "object_detection_rate", "mcc"]
"""Scores beside the landslide IoU: they stand in the table, and no interval is made of them."""
COLUMNS = ["variant", "seeds", "landslide_iou", "sd", "against", "difference", "low", "high", *SCORES]


class AblationError(ValueError):
    """Trainings that cannot be compared."""


def ground(facts: TileFacts) -> str:
    """What scores of the folds were reached on, in words: ``north + south, 3 folds`` where areas were dealt block by block, and
    ``north + south, east: each by the others`` where they were dealt whole (there into two folds)."""
    held = _areas_of_folds(facts)
    if any(len(area.intersection(facts.fold_names)) > 1 for area in held.values()):
        return f"{' + '.join(held)}, {len(facts.folds)} folds"
    groups = [[name for name, codes in held.items() if fold in codes] for fold in facts.fold_names]
    return f"{', '.join(' + '.join(group) for group in groups)}: each by the others"


def transfer_ground(facts: TileFacts) -> str | None:
    """The same of test areas, which the mean of all networks maps: ``north + south -> east, mean of 3``; None without any."""
    test = sorted(name for name, area in facts.areas.items() if area.test)
    if not test:
        return None
    return f"{' + '.join(_areas_of_folds(facts))} -> {' + '.join(test)}, mean of {len(facts.folds)}"


def new_ground(facts: TileFacts) -> bool:
    """Whether an area is scored that a network which maps it never saw any part of, so that AdaBN, where it is asked for, acts
    there (`hpcl.inference.adabn`)."""
    return any(area.test for area in facts.areas.values()) or any(
        len(folds) == 1 for folds in _areas_of_folds(facts).values()
    )


def _areas_of_folds(facts: TileFacts) -> dict[str, set[str]]:
    """The areas that have ground in folds, by name, and the names of those folds."""
    found = {name: {str(code + 1) for code in area.fold_codes} for name, area in sorted(facts.areas.items())}
    return {name: folds for name, folds in found.items() if folds}


def compare(
    trainings: Mapping[str, Sequence[pd.DataFrame]], against: Mapping[str, str], settings: EvaluateSettings
) -> pd.DataFrame:
    """One line per variant: the mean of its scores over seeds, the standard deviation of its landslide IoU, and how far it is ahead.

    ``trainings``: the counts of each variant by block, one table per seed, the same seeds in the same order for all; ``against``:
    the variant that each is compared with. All draws are the same for all variants, so differences are paired.

    What makes a difference uncertain is which ground was judged, and that every training comes out a little differently. The
    ground is resampled by blocks. A training is that of one (seed, fold), so each resample makes its maps of trainings that are
    drawn in each fold for itself. Few trainings scatter too little in a bootstrap, so the deviations that they make are widened
    as far as Student's distribution of so few is wider; the scatter between seeds within folds is known from
    folds x (seeds - 1) differences: from six with three folds and three seeds, where one network that maps all ground gave two.

    Folds themselves are not resampled where there are several seeds. Folds differ by their blocks and their trainings, which
    have their share already: drawn in addition, both would count twice, and the two degrees of freedom of three folds
    would widen all of it (a simulation gave intervals a half to three times as wide as these, which hold the truth in 96 to 98
    of 100 cases). With one seed nothing but the folds shows how much trainings differ: then the folds are drawn, each with its
    blocks and its training, and widened for so few. With two folds that says next to nothing, as it should. With one seed and one
    fold (the mean of all networks, on test areas), or one block, there is no interval (NaN).

    Intervals speak of ground like these blocks and of trainings like these; what other training ground or another area would change
    is not in them.
    """
    counts, _ = _stack(trainings)
    found = {name: _scores(c.sum(1)) for name, c in counts.items()}
    drawn = draws(trainings, settings)
    lines = []
    for name, scores in found.items():
        iou = scores["landslide_iou"]
        line = {"variant": name, "seeds": len(iou), "sd": iou.std(ddof=1) if len(iou) > 1 else np.nan}
        line |= {score: values.mean() for score, values in scores.items()}
        other = against.get(name, "")
        if other in found:
            low, high = intervals.interval(drawn[name] - drawn[other], settings) if drawn else (np.nan, np.nan)
            lead = (iou - found[other]["landslide_iou"]).mean()
            line |= {"against": other, "difference": lead, "low": low, "high": high}
        lines.append(line)
    return pd.DataFrame(lines, columns=COLUMNS)


def draws(trainings: Mapping[str, Sequence[pd.DataFrame]], settings: EvaluateSettings) -> dict[str, Array]:
    """The landslide IoU of each variant in each resample, ``(resample,)``, the mean over its maps; `compare` says what is drawn. No
    variant has any where that says nothing."""
    counts, fold = _stack(trainings)
    seeds, blocks = next(iter(counts.values())).shape[:2]
    enough = blocks > 1 if seeds > 1 else fold.max() > 0
    return {name: _draws(each, fold, settings) for name, each in counts.items()} if enough else {}


def _stack(trainings: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[dict[str, Array], Array]:
    """Counts of each variant ``(seed, block, count)`` in the order of `COUNTS`, and the fold of each block, numbered from 0."""
    ordered = {name: [t.sort_values(["area", "block"]) for t in tables] for name, tables in trainings.items()}
    grounds = {
        tuple(zip(t["area"], t["block"], t["fold"], t["tn"] + t["fp"], t["fn"] + t["tp"], strict=True))
        for tables in ordered.values()
        for t in tables
    }
    if len(grounds) != 1 or len({len(tables) for tables in ordered.values()}) != 1:
        raise AblationError(
            "The trainings were not scored on the same blocks with the same seeds; run the ablation again."
        )
    _, fold = np.unique([of for _, _, of, _, _ in grounds.pop()], return_inverse=True)
    return {name: np.stack([t[COUNTS].to_numpy() for t in tables]) for name, tables in ordered.items()}, fold


def _scores(totals: Array) -> dict[str, Array]:
    """Landslide IoU and `SCORES` of counts ``(..., count)``; NaN where there is nothing to score."""
    of = dict(zip(COUNTS, np.moveaxis(totals, -1, 0), strict=True))
    by_pixel = pixels.scores(_confusion(totals))
    either, objects = of["boundary_either_px"], of["objects"]
    return {
        "landslide_iou": by_pixel["landslide_iou"],
        "boundary_iou": np.where(either > 0, pixels.ratio(of["boundary_both_px"], either), np.nan),
        "object_detection_rate": np.where(objects > 0, pixels.ratio(of["objects_found"], objects), np.nan),
        "mcc": by_pixel["mcc"],
    }


def _confusion(totals: Array) -> Array:
    return totals[..., : len(CONFUSION)].reshape(*totals.shape[:-1], 2, 2)


def _draws(counts: Array, fold: Array, settings: EvaluateSettings) -> Array:
    """`draws` of one variant."""
    confusion = _confusion(counts).astype(float)
    seeds, folds = len(confusion), int(fold.max()) + 1
    if seeds == 1:
        weights = intervals.resample(folds, settings)[:, fold]
        all_ground, drawn = _iou(confusion[0].sum(0)), _iou(np.tensordot(weights, confusion[0], axes=1))
        return np.asarray(all_ground + _widening(folds, folds - 1, settings.confidence_frac) * (drawn - all_ground))
    weights = intervals.resample(len(fold), settings)
    maps = np.stack(  # (resample, seed, fold, 2, 2)
        [np.tensordot(weights[:, fold == k], confusion[:, fold == k], axes=(1, 1)) for k in range(folds)], axis=2
    )
    resamples = len(weights)
    chosen = np.random.default_rng([settings.seed, 1]).integers(seeds, size=(resamples, seeds, folds))
    made = maps[np.arange(resamples)[:, None, None], chosen, np.arange(folds)]
    everyone, drawn = (_iou(each.sum(2)).mean(1) for each in (maps, made))
    return np.asarray(everyone + _widening(seeds, folds * (seeds - 1), settings.confidence_frac) * (drawn - everyone))


def _iou(confusion: Array) -> Array:
    return pixels.scores(confusion)["landslide_iou"]


def _widening(drawn: int, freedom: int, confidence_frac: float) -> float:
    """How much too narrow the bootstrap of the mean of so few ``drawn`` values is, if they are normal: its standard deviation is
    that of n values over n instead of n - 1, and its quantiles know nothing of the degrees of ``freedom``.

    >>> round(_widening(3, 2, 0.95), 2), round(_widening(2, 3, 0.95), 2), round(_widening(100, 99, 0.95), 2)
    (2.69, 2.3, 1.02)
    """
    upper = (1 + confidence_frac) / 2
    return float(np.sqrt(drawn / (drawn - 1)) * stats.t.ppf(upper, freedom) / stats.norm.ppf(upper))
