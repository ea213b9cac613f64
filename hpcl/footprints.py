"""Outlines as pixels of a grid, each by itself: they may overlap, and be smaller than a pixel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from hpcl.embedding.footprint import Footprint
from hpcl.geo.raster import Grid


def footprints(shapes: Iterable[Any], grid: Grid) -> list[Footprint]:
    """The pixels of the grid whose centres lie in each of the ``shapes``, in its CRS; of one that holds no centre, the pixel that a
    point of it lies in. What lies off the grid has none."""
    return [_footprint(shape, grid) for shape in shapes]


def _footprint(shape: Any, grid: Grid) -> Footprint:
    roi = _around(shape.bounds, grid)
    rows, columns = roi
    size = rows.stop - rows.start, columns.stop - columns.start
    if not all(size):
        return Footprint(roi, np.zeros(size, bool))
    corner = grid.affine * Affine.translation(columns.start, rows.start)
    inside = rasterize([shape], out_shape=size, transform=corner, dtype="uint8").astype(bool)
    if not inside.any():
        point = shapely.point_on_surface(shape)
        return Footprint(here := _around(point.bounds, grid), np.ones([span.stop - span.start for span in here], bool))
    return Footprint(roi, inside)


def _around(bounds: tuple[float, float, float, float], grid: Grid) -> tuple[slice, slice]:
    """The pixels that a box reaches, of those that the grid has."""
    west, south, east, north = bounds
    left, top = ~grid.affine * (west, north)
    right, bottom = ~grid.affine * (east, south)
    ends = ((top, bottom, grid.shape[0]), (left, right, grid.shape[1]))
    rows, columns = (
        slice(*np.clip([np.floor(first), np.floor(last) + 1], 0, side).astype(int).tolist())
        for first, last, side in ends
    )
    return rows, columns
