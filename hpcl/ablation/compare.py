"""The ablation: what each component buys. A training is one training, scored on the test split of the tiles as a map would
be; the table compares trainings with seeds and blocks resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from hpcl.ablation.score import COUNTS
from hpcl.core.records import TileFacts
from hpcl.metrics import intervals, pixels
from hpcl.settings.evaluate import EvaluateSettings

Array = npt.NDArray[Any]


class AblationError(ValueError):
    """Trainings that cannot be compared."""


def ground(facts: TileFacts) -> str:
    """What a score was reached on, in words: ``west -> east``, or ``north + south, test blocks``."""
    train, test = _areas(facts, "train"), _areas(facts, "test")
    if not test:
        raise AblationError("The tiles have no test ground to score on; raise tile.test_frac or name tile.test_areas.")
    if set(train) & set(test):
        return f"{' + '.join(test)}, test blocks"
    return f"{' + '.join(train)} -> {' + '.join(test)}"


def new_ground(facts: TileFacts) -> bool:
    """Whether an area is scored that no training saw, so that AdaBN, where it is asked for, acts there (`hpcl.inference.adabn`)."""
    return bool(set(_areas(facts, "test")) - set(_areas(facts, "train")))


def _areas(facts: TileFacts, split: str) -> list[str]:
    return [name for name, area in sorted(facts.areas.items()) if area.has(split)]


def compare(
    trainings: Mapping[str, Sequence[pd.DataFrame]], against: Mapping[str, str], settings: EvaluateSettings
) -> pd.DataFrame:
    """One line per training: mean and standard deviation of its landslide IoU over seeds, and how far it is ahead.

    ``trainings``: the block counts of each training, one table per seed, the same seeds in the same order for all;
    ``against``: the training that each is compared with. The interval resamples seeds and blocks, both paired; with one
    seed or one block there is none (NaN). Means of a handful of drawn seeds scatter too little and never leave the range of
    the seeds, so their deviations are widened as far as Student's distribution of so few seeds is wider than their own.
    """
    counts = {name: _stack(tables) for name, tables in trainings.items()}
    shapes = {(len(c), c.shape[1]) for c in counts.values()}
    truths = [c.sum(-1) for c in counts.values()]
    places = {
        tuple(zip(*(t.sort_values(["area", "block"])[c] for c in ("area", "block")), strict=True))
        for r in trainings.values()
        for t in r
    }
    if len(shapes) != 1 or len(places) != 1 or any((truth != truths[0]).any() for truth in truths):
        raise AblationError(
            "The trainings were not scored on the same blocks with the same seeds; run the ablation again."
        )
    seeds, blocks = shapes.pop()
    weights = intervals.resample(blocks, settings)
    drawn = np.random.default_rng([settings.seed, 1]).integers(seeds, size=(len(weights), seeds))
    widening = _widening(seeds, settings.confidence_frac)
    iou = {name: pixels.scores(c.sum(1))["landslide_iou"] for name, c in counts.items()}
    draws = {name: _draws(c, weights, drawn, widening) for name, c in counts.items()}
    lines = []
    for name in trainings:
        line = {
            "variant": name,
            "seeds": seeds,
            "landslide_iou": iou[name].mean(),
            "sd": iou[name].std(ddof=1) if seeds > 1 else np.nan,
        }
        other = against.get(name, "")
        if other in counts:
            enough = seeds > 1 and blocks > 1
            low, high = intervals.interval(draws[name] - draws[other], settings) if enough else (np.nan, np.nan)
            lead = {"against": other, "difference": (iou[name] - iou[other]).mean(), "low": low, "high": high}
            line |= lead
        lines.append(line)
    return pd.DataFrame(
        lines, columns=["variant", "seeds", "landslide_iou", "sd", "against", "difference", "low", "high"]
    )


def _stack(tables: Sequence[pd.DataFrame]) -> Array:
    """Confusion ``(seed, block, 2, 2)``."""
    ordered = [table.sort_values(["area", "block"])[COUNTS].to_numpy().reshape(-1, 2, 2) for table in tables]
    return np.stack(ordered)


def _widening(seeds: int, confidence_frac: float) -> float:
    """How much too narrow the bootstrap of the mean of so few values is, if they are normal: its standard deviation is
    that of n values over n instead of n - 1, and its quantiles know nothing of n.

    >>> round(_widening(3, 0.95), 2), round(_widening(100, 0.95), 2), _widening(1, 0.95)
    (2.69, 1.02, 1.0)
    """
    if seeds == 1:
        return 1.0
    upper = (1 + confidence_frac) / 2
    return float(np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(upper, seeds - 1) / stats.norm.ppf(upper))


def _draws(counts: Array, weights: Array, drawn: Array, widening: float) -> Array:
    """Mean IoU over the drawn seeds on the drawn blocks, ``(resample,)``, its deviation from that of all seeds widened."""
    by_seed = np.stack([pixels.scores(np.tensordot(weights.astype(float), c, axes=1))["landslide_iou"] for c in counts])
    everyone = by_seed.mean(0)
    return np.asarray(everyone + widening * (by_seed[drawn.T, np.arange(len(weights))].mean(0) - everyone))
