"""Whether an outline would fit the map better if it were moved, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from hpcl.audit.support import around, drawn
from hpcl.outline.mapped import Mapped

Array = npt.NDArray[Any]

REACH = 0.9
"""How far an outline is moved to look for a better fit, in square roots of its area."""


@dataclass(frozen=True)
class Shifts:
    """The best move of each of some shapes; arrays ``(shape,)``."""

    gain: Array
    """By how much the mean probability inside grows..."""
    best: Array
    """...and what it then is; where nothing is known counts as 0."""
    east_m: Array
    north_m: Array

    @property
    def length_m(self) -> Array:
        """How far the shapes move."""
        return np.hypot(self.east_m, self.north_m)


def shifts(mapped: Mapped, shapes: Array) -> Shifts:
    """The move of each shape at which the mean probability inside is highest; none where nothing is known."""
    rows = [_one(mapped, shape) for shape in shapes]
    return Shifts(*np.array(rows, dtype=np.float64).reshape(-1, 4).T)


def _one(mapped: Mapped, shape: Any) -> tuple[float, float, float, float]:
    grid = mapped.source.grid
    reach = max(1, round(REACH * float(np.sqrt(shape.area)) / grid.affine.a))
    roi = around(grid, shape, reach)
    if roi is None:
        return (0.0, 0.0, 0.0, 0.0)
    probability = np.nan_to_num(mapped.source.read(roi, ["probability"])[0]).astype(np.float64)
    inside = drawn(grid, shape, roi).astype(np.float64)
    at = np.nonzero(inside)
    spans = [slice(one.min(), one.max() + 1) for one in at]
    kernel = inside[spans[0], spans[1]]
    means = fftconvolve(probability, kernel[::-1, ::-1], mode="valid") / kernel.sum()
    home = spans[0].start, spans[1].start
    rows, columns = np.ogrid[: means.shape[0], : means.shape[1]]
    far = (rows - home[0]) ** 2 + (columns - home[1]) ** 2 > reach**2
    best = np.unravel_index(np.where(far, -np.inf, means).argmax(), means.shape)
    step = grid.affine
    return (
        float(means[best] - means[home]),
        float(means[best]),
        float((best[1] - home[1]) * step.a),
        float((best[0] - home[0]) * step.e),
    )
