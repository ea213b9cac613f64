"""What an inventory's polygons are beside the pixels that are to show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from hpcl import scale

QUANTILES = (0.05, 0.5, 0.95)
COUNTED_PX = 16
"""Four times `scale.FEW_PX`: of larger polygons nobody asks how many pixels they hold."""
AT_ONCE = 1_000_000
"""Pixels that are looked at together."""


@dataclass(frozen=True)
class Polygons:
    """The polygons on an image: how many the file holds, their areas [m2], and how many pixels each holds ``(polygon,)``."""

    given: int
    areas_m2: npt.NDArray[np.float64]
    pixels: npt.NDArray[np.int64]
    share_frac: float
    """Of the image's ground."""

    def quantiles_m2(self) -> tuple[float, ...]:
        """Areas at `QUANTILES`."""
        return tuple(float(area) for area in np.quantile(self.areas_m2, QUANTILES))

    def empty(self) -> int:
        """How many hold no pixel."""
        return int((self.pixels == 0).sum())

    def shapeless(self) -> int:
        """How many hold some pixels, but too few to have a shape."""
        return int(((self.pixels > 0) & (self.pixels < scale.FEW_PX)).sum())

    def smaller(self, side_m: float) -> float:
        """The share that is smaller than a square of this side."""
        return float((self.areas_m2 < side_m**2).mean())

    def kept(self, minimum_area_m2: float) -> tuple[float, float]:
        """The shares of the polygons, and of their ground, that a minimum area keeps."""
        large = self.areas_m2 >= minimum_area_m2
        return float(large.mean()), float(self.areas_m2[large].sum() / self.areas_m2.sum())


def pixel_counts(shapes: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Pixels ``(polygon,)`` whose centres lie in each of ``shapes``, drawn in columns and rows of an image of ``shape``.

    Polygons inside the image with more than `COUNTED_PX` pixels are not counted but measured: their area says it well enough.
    """
    pixels = np.round(shapely.area(shapes)).astype(np.int64)
    low, high = np.split(shapely.bounds(shapes), 2, axis=1)
    size = np.array(shape[::-1])
    small = np.flatnonzero((pixels <= COUNTED_PX) | (low < 0).any(axis=1) | (high > size).any(axis=1))
    # Centres lie at halves: the first one is that of the pixel in which the box begins.
    first = np.clip(np.floor(low[small]), 0, size).astype(np.int64)
    spans = np.maximum(np.clip(np.ceil(high[small]), 0, size).astype(np.int64) - first, 0)
    for part in _parts(spans.prod(axis=1)):
        counts, width = spans[part].prod(axis=1), spans[part, 0]
        owner = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        column = first[part, 0][owner] + place % np.maximum(width, 1)[owner]
        row = first[part, 1][owner] + place // np.maximum(width, 1)[owner]
        inside = shapely.contains_xy(shapes[small[part]][owner], column + 0.5, row + 0.5)
        pixels[small[part]] = np.bincount(owner, inside, minlength=len(counts))
    return pixels


def _parts(counts: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Polygons in parts of about `AT_ONCE` pixels."""
    ends = np.flatnonzero(np.diff(np.cumsum(counts) // AT_ONCE)) + 1
    for start, stop in pairwise([0, *ends.tolist(), len(counts)]):
        yield slice(start, stop)
