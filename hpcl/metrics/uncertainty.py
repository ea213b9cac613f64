"""Whether a map is uncertain where it errs: counts of right and wrong pixels by level of uncertainty, ``(..., 2, level)``.

Pixels of one level count as equally uncertain. Ground without a prediction has no uncertainty and no part in this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpcl.metrics.intervals import resample, spread
from hpcl.metrics.pixels import ratio
from hpcl.metrics.records import UncertaintyScores
from hpcl.metrics.tally import Blocks
from hpcl.settings.evaluate import EvaluateSettings

Array = npt.NDArray[Any]

TOP = 0.1
"""The most uncertain share of the ground, in which errors should be found."""


def error_auroc(counts: Array) -> Array:
    """How often a wrong pixel is more uncertain than a right one, a draw counting half; NaN where all are right, or wrong.

    >>> error_auroc(np.array([[8, 2], [1, 1]])).tolist()
    0.65
    """
    right, wrong = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    below = right.cumsum(-1) - right / 2
    pairs = right.sum(-1) * wrong.sum(-1)
    return np.where(pairs > 0, ratio((wrong * below).sum(-1), pairs), np.nan)


def top_error_frac(counts: Array) -> Array:
    """Share of the wrong pixels that lie in the most uncertain `TOP` of all; NaN where all are right.

    >>> top_error_frac(np.array([[17, 0], [2, 1]])).round(3).tolist()
    0.368
    """
    counts = np.asarray(counts, np.float64)
    pixels, wrong = counts.sum(-2), counts[..., 1, :]
    above = pixels[..., ::-1].cumsum(-1)[..., ::-1] - pixels
    taken = np.clip(ratio(TOP * pixels.sum(-1, keepdims=True) - above, pixels), 0, 1)
    return np.where(wrong.sum(-1) > 0, ratio((wrong * taken).sum(-1), wrong.sum(-1)), np.nan)


def scores(blocks: Blocks, settings: EvaluateSettings) -> UncertaintyScores:
    """Both scores, with intervals from resampled blocks."""
    weights = resample(len(blocks.block), settings).astype(np.float64)
    drawn, once = np.tensordot(weights, blocks.uncertainty, axes=1), blocks.uncertainty.sum(0)
    return UncertaintyScores(
        error_auroc=float(error_auroc(once)),
        error_auroc_interval=spread(error_auroc(drawn), len(blocks.block), settings),
        top_tenth_error_frac=float(top_error_frac(once)),
        top_tenth_error_frac_interval=spread(top_error_frac(drawn), len(blocks.block), settings),
    )


def risk_coverage(counts: Array) -> pd.DataFrame:
    """How much of the ground that the map is surest of is wrong, by the share of the ground that this is."""
    pixels, wrong = np.asarray(counts, np.float64).sum(0).cumsum(), np.asarray(counts, np.float64)[1].cumsum()
    coverage = np.arange(1, 101) / 100
    errors = np.interp(coverage * pixels[-1], [0, *pixels], [0, *wrong])
    return pd.DataFrame({"coverage": coverage, "error_frac": ratio(errors, coverage * pixels[-1])})
