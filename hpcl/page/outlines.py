"""Outlines as the page draws them: corners on whole tenths of a pixel."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import shapely

from hpcl.geo.raster import Grid

TENTHS = 10


def rings(table: gpd.GeoDataFrame, grid: Grid, tolerance_px: float, max_corners: int) -> list[list[int]]:
    """Every ring as column, row, column, row..., in tenths of a pixel from the grid's corner.

    Corners that lie within ``tolerance_px`` of the line without them are left out, or within so much more that no more than
    ``max_corners`` are left in all (but at least a triangle for each ring).
    """
    shapes = shapely.get_parts(table.geometry.to_numpy())
    shapes = shapely.transform(shapes, lambda corners: _pixels(corners, grid))
    while True:
        drawn = shapely.simplify(shapes, tolerance_px, preserve_topology=True)
        count = int(shapely.get_num_coordinates(drawn).sum())
        if count <= max_corners or count <= 4 * int(shapely.get_num_interior_rings(drawn).sum() + len(drawn)):
            break
        tolerance_px *= 2
        if tolerance_px > max(grid.shape):
            break
    whole = (np.round(shapely.get_coordinates(ring) * TENTHS).astype(int) for ring in shapely.get_rings(drawn))
    return [ring.ravel().tolist() for ring in whole]


def _pixels(corners: np.ndarray, grid: Grid) -> np.ndarray:
    affine = grid.affine  # north is up on every grid of this project
    return (corners - [affine.c, affine.f]) / [affine.a, affine.e]
