"""What a linear probe reads in the vectors of landslides: whether classes that nobody told the networks can be told apart in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpcl.metrics.intervals import resample, spread
from hpcl.settings.evaluate import EvaluateSettings

FEWEST = 10
"""Landslides of a class; of fewer a share says nothing."""
MOST_CLASSES = 10
"""A column of more different numbers than these is halved at its median."""

Array = npt.NDArray[Any]


class ProbeError(ValueError):
    """A column that no probe can learn; the message says why, and what to do."""


@dataclass(frozen=True)
class Probed:
    """The mean over classes of the share that was told right, by a probe that learnt on other ground, and its interval over blocks."""

    balanced_accuracy: float
    interval: tuple[float, float]


def classes(column: pd.Series) -> pd.Series:
    """Names of classes, NaN where unknown: the texts or few numbers of a column as they are, many numbers as halves."""
    known = column.replace("", np.nan).dropna()
    if pd.api.types.is_numeric_dtype(known) and known.nunique() > MOST_CLASSES:
        middle = known.median()
        known = known.gt(middle).map({True: f"above {middle:g}", False: f"up to {middle:g}"})
    return known.astype(str).reindex(column.index)


def usable(names: pd.Series, places: pd.Series, column: str) -> pd.Series:
    """The ``names`` of the classes that can be probed, of those of `FEWEST` landslides or more in two of the ``places`` or more.

    Raises `ProbeError` unless there are two.
    """
    counts = Counter(names.dropna())
    kept = [name for name, count in sorted(counts.items()) if count >= FEWEST and len(set(places[names == name])) > 1]
    if len(kept) < 2:
        told = ", ".join(f"{name} ({count})" for name, count in counts.most_common(6)) or "no value at all"
        raise ProbeError(
            f"The column '{column}' has {told}, and a probe needs two classes of {FEWEST} landslides or more, each in two"
            " folds or areas at least; join classes, or map more."
        )
    return names[names.isin(kept)]


def probe(
    features: Mapping[Any, Array], names: Array, places: Array, blocks: Array, settings: EvaluateSettings
) -> Probed:
    """A logistic regression from features to ``names``, asked about each of the ``places`` after it learnt on all others; the interval
    resamples ``blocks``.

    ``features`` ``(landslide, number)`` are those of all landslides by the place that is asked about.
    """
    told = np.empty_like(names)
    for place in np.unique(places):
        here = places == place
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        told[here] = model.fit(features[place][~here], names[~here]).predict(features[place][here])
    of_class = names[:, None] == np.unique(names)
    of_block = (blocks[:, None] == np.unique(blocks)).T.astype(float)
    right, all_ = of_block @ (of_class & (told == names)[:, None]), of_block @ of_class

    def shares(weights: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(((weights @ right) / (weights @ all_)).mean(axis=1))

    draws = shares(resample(len(of_block), settings))
    return Probed(float(shares(np.ones((1, len(of_block))))[0]), spread(draws, len(of_block), settings))
