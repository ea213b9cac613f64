"""What labels are worth: the scores of variants by the share of the labels that they learnt from.

A training at a share is that of one seed and one fold, on ground that follows from the seed: so what other ground would have taught
is in the spread between seeds, with all else in which trainings differ. Scores are compared as those of the ablation are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from hpcl.ablation import compare
from hpcl.metrics import intervals
from hpcl.settings.evaluate import EvaluateSettings

COLUMNS = [
    "variant", "percent", "seeds", "landslide_iou", "sd", "iou_low", "iou_high", "gain", "gain_low", "gain_high",
    "against", "difference", "low", "high", *compare.SCORES,
]  # fmt: skip


def curve(
    trainings: Mapping[tuple[str, int], Sequence[pd.DataFrame]], against: Mapping[str, str], settings: EvaluateSettings
) -> pd.DataFrame:
    """One line for each variant and share in per cent: its scores, the interval of its landslide IoU, by how much that is higher than
    at the share before (``gain``), and how far it is ahead of the variant ``against`` at the same share (``difference``), both
    paired.

    ``trainings``: the counts by block of each variant and share, a table per seed, the same seeds in the same order for all.
    """
    variants = list(dict.fromkeys(variant for variant, _ in trainings))
    points = sorted(trainings, key=lambda point: (variants.index(point[0]), point[1]))
    tables = {_name(point): trainings[point] for point in points}
    before = {_name(b): _name(a) for a, b in pairwise(points) if a[0] == b[0]}
    others = {(variant, percent): (against.get(variant, ""), percent) for variant, percent in points}
    beside = {_name(point): _name(other) for point, other in others.items() if other in trainings}
    gains, leads = (compare.compare(tables, other, settings).to_dict("records") for other in (before, beside))
    drawn = compare.draws(tables, settings)
    lines = []
    for (variant, percent), gain, lead in zip(points, gains, leads, strict=True):
        name = _name((variant, percent))
        low, high = intervals.interval(drawn[name], settings) if drawn else (np.nan, np.nan)
        line = {"variant": variant, "percent": percent, "iou_low": low, "iou_high": high}
        line |= {"gain": gain["difference"], "gain_low": gain["low"], "gain_high": gain["high"]}
        lines.append(lead | line | {"against": against[variant] if name in beside else None})
    return pd.DataFrame(lines, columns=COLUMNS)


def _name(point: tuple[str, int]) -> str:
    return f"{point[0]} at {point[1]} %"
