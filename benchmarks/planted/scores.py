"""How good a list is whose rows are right or not: its order, its probabilities, and what it promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcl.core.records import Promise

Array = npt.NDArray[Any]


def average_precision(right: Array, missed: int = 0) -> float:
    """The mean over all that should be found of the share of right rows down to it; 0 for those that are ``missed``.

    ``right``: whether each row is, in the order of the list. NaN where nothing is to be found.

    >>> average_precision(np.array([True, False, True]))
    0.8333333333333333
    >>> average_precision(np.array([True, False, True]), missed=2)
    0.4166666666666667
    """
    wanted = int(right.sum()) + missed
    if not wanted:
        return float("nan")
    ranks = np.flatnonzero(right) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / wanted)


def by_chance(rows: int, right: int, missed: int = 0) -> float:
    """The mean of `average_precision` over all orders of the rows.

    >>> by_chance(2, 1)  # 1 if the right row comes first, 1/2 if not
    0.75
    """
    if not right + missed:
        return float("nan")
    if not right:
        return 0.0
    ranks = np.arange(1, rows + 1)
    before = (ranks - 1) * (right - 1) / max(rows - 1, 1)  # right rows above one that is right
    return float(((1 + before) / ranks).mean() * right / (right + missed))


def brier(probability: Array, right: Array) -> float:
    """Mean squared difference of probability and what came out; NaN for no rows."""
    return float(np.mean((probability - right) ** 2)) if len(right) else float("nan")


@dataclass(frozen=True, kw_only=True)
class LayerScore:
    """A layer of an audit of one planted project, all areas together. ``ap_``: average precision of what was listed; ``ap0_``: with
    what was missed as 0; each by the audit's order, by mean probability and by chance."""

    layer: str
    rows: int
    right: int
    missed: int
    ap_audit: float
    ap_mean: float
    ap_chance: float
    ap0_audit: float
    ap0_mean: float
    ap0_chance: float
    brier: float
    brier_share: float
    """Of a probability for all rows that is the share of those that are right: what no order and no knowledge of rows gives."""
    expected: float
    low: float
    high: float
    held: bool | None
    """Whether the promise held; None if there was none."""


def score(
    layer: str, right: Array, probability: Array, like_error: Array, missed: int, promise: Promise | None
) -> LayerScore:
    """The scores of rows in the audit's order; ``like_error`` is what a ranking by mean probability goes by, large first."""
    count, plain = int(right.sum()), right[np.argsort(-like_error, kind="stable")]
    low, high = (promise.low, promise.high) if promise else (np.nan, np.nan)
    return LayerScore(
        layer=layer,
        rows=len(right),
        right=count,
        missed=missed,
        ap_audit=average_precision(right),
        ap_mean=average_precision(plain),
        ap_chance=by_chance(len(right), count),
        ap0_audit=average_precision(right, missed),
        ap0_mean=average_precision(plain, missed),
        ap0_chance=by_chance(len(right), count, missed),
        brier=brier(probability, right),
        brier_share=brier(np.full(len(right), right.mean() if len(right) else 0.0), right),
        expected=promise.expected if promise else np.nan,
        low=low,
        high=high,
        held=bool(low <= count <= high) if promise else None,
    )
