"""Scores of pixels: from confusion matrices, over all thresholds, and of probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]


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
        "landslide_iou": ratio(tp, tp + fp + fn),
        "miou": ratio(ratio(right, union).sum(-1), (union > 0).sum(-1)),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "mcc": ratio(tp * tn - fp * fn, margins),
        "kappa": ratio(total * (tp + tn) - chance, total * total - chance),
        "accuracy": ratio(tp + tn, total),
    }
    _check_identities(found, binary=matrix.shape[-1] == 2)
    return {name: np.where(tp + fn > 0, score, np.nan) for name, score in found.items()}


def ratio(part: Array, whole: Array) -> Array:
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
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, positives),
            "f1": ratio(2 * tp, tp + fp + positives),
            "landslide_iou": ratio(tp, fp + positives),
        }
    )
    return table[tp + fp > 0]


def expected_calibration_error(calibration: Array) -> Array:
    """Mean distance of a bin's probability from its share of landslide, weighted by pixels (Naeini et al., AAAI 2015).

    ``calibration``: ``(..., bin, 3)``: pixels, landslide pixels and the sum of probabilities of every bin.
    """
    pixels, landslide, probability = np.moveaxis(np.asarray(calibration, dtype=np.float64), -1, 0)
    return ratio(np.abs(probability - landslide).sum(-1), pixels.sum(-1))


def reliability(calibration: Array) -> pd.DataFrame:
    """The reliability diagram as a table: one row for every bin of ``calibration`` ``(bin, 3)`` that holds a pixel."""
    pixels, landslide, probability = np.asarray(calibration, dtype=np.float64).T
    edges = np.linspace(0, 1, len(pixels) + 1)
    table = pd.DataFrame(
        {
            "from_probability": edges[:-1],
            "to_probability": edges[1:],
            "pixels": pixels.astype(np.int64),
            "mean_probability": ratio(probability, pixels),
            "landslide_frac": ratio(landslide, pixels),
        }
    )
    return table[pixels > 0]
