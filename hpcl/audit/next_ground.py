"""Where an hour of mapping teaches most: unlabelled ground on which the map expects landslides and is not sure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from hpcl.geo.raster import Grid

Array = npt.NDArray[Any]

LEAST_FRAC = 0.25
"""A square of which less is unlabelled and mapped is not proposed."""


@dataclass(frozen=True)
class Squares:
    """Squares of unlabelled ground, those that teach most first; arrays ``(square,)``."""

    shapes: Array
    expected_area_m2: Array
    """Of landslides on the unlabelled part."""
    uncertainty: Array
    """Mean on the unlabelled part."""
    unlabelled_frac: Array


def squares(grid: Grid, read: Callable[[slice], tuple[Array, Array, Array]], side_px: int, count: int) -> Squares:
    """At most ``count`` squares, ``side_px`` wide, by the product of mean uncertainty and expected landslide area; spread out: a
    neighbour of a square that is taken already comes after all others.

    ``read`` gives of some rows the probability and its uncertainty (NaN where nothing is known), and whether a pixel is
    unlabelled, each ``(row, column)``.
    """
    height, width = grid.shape
    tops, lefts = range(0, height, side_px), range(0, width, side_px)
    sums = np.zeros((3, len(tops), len(lefts)))
    for number, top in enumerate(tops):
        probability, uncertainty, unlabelled = read(slice(top, min(top + side_px, height)))
        counts = unlabelled & np.isfinite(probability)
        for kind, values in enumerate((counts, probability, uncertainty)):
            columns = np.where(counts, values, 0).sum(axis=0, dtype=np.float64)
            sums[kind, number] = np.add.reduceat(columns, np.array(lefts))
    pixels, expected_px, doubt = sums
    means = np.divide(doubt, pixels, out=np.zeros_like(doubt), where=pixels > 0)
    worth = np.where(pixels >= LEAST_FRAC * side_px**2, means * expected_px, 0.0)
    rows, columns = _spread(worth, count)
    pixel_m2 = abs(grid.affine.determinant)
    return Squares(
        np.array([_square(grid, tops[i], lefts[j], side_px) for i, j in zip(rows, columns, strict=True)], dtype=object),
        expected_px[rows, columns] * pixel_m2,
        means[rows, columns],
        pixels[rows, columns] / side_px**2,
    )


def _spread(worth: Array, count: int) -> tuple[Array, Array]:
    """Rows and columns of the cells that are worth most, in the order in which they are taken."""
    left, taken = worth.copy(), list[tuple[int, int]]()
    fresh = np.ones(worth.shape, bool)
    while len(taken) < count and (left > 0).any():
        among = np.where(fresh, left, 0.0) if (fresh & (left > 0)).any() else left
        row, column = np.unravel_index(among.argmax(), worth.shape)
        taken.append((int(row), int(column)))
        left[row, column] = 0.0
        fresh[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = False
    rows, columns = np.array(taken, dtype=np.int64).reshape(-1, 2).T
    return rows, columns


def _square(grid: Grid, top: int, left: int, side_px: int) -> shapely.Polygon:
    bottom, right = min(top + side_px, grid.shape[0]), min(left + side_px, grid.shape[1])
    (west, north), (east, south) = grid.affine * (left, top), grid.affine * (right, bottom)
    return shapely.box(west, south, east, north)
