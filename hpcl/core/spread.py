"""How far values spread, whatever the outliers among them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def nmad(values: npt.NDArray[Any]) -> float:
    """Normalised median absolute deviation: the standard deviation of normal noise, whatever the outliers; NaN of nothing.

    >>> nmad(np.array([1.0, 2.0, 3.0, 4.0, 1000.0, np.nan]))
    1.4826
    """
    known = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(known - np.median(known)))) if known.size else math.nan
