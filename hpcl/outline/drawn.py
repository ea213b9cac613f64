"""Polygons drawn onto a grid: what is delivered, as pixels that can be scored."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import rasterize

from hpcl.geo.raster import Grid

Float32 = npt.NDArray[np.float32]


class Drawn:
    """A table of polygons as a raster of ``grid``: 1 where a pixel's centre lies inside one, 0 elsewhere."""

    def __init__(self, table: gpd.GeoDataFrame, grid: Grid) -> None:
        """``table`` is in the CRS of the grid."""
        self._grid = grid
        self._shapes = np.asarray(table.geometry.values, dtype=object)
        self._tree = shapely.STRtree(self._shapes)

    def rows(self, rows: slice) -> Float32:
        """Some rows of the raster, ``(row, column)``."""
        strip = self._grid[rows, slice(0, self._grid.shape[1])]
        under = self._tree.query(strip.extent.geom)
        if not len(under):  # rasterio refuses to draw nothing
            return np.zeros(strip.shape, np.float32)
        found: Float32 = rasterize(
            self._shapes[np.sort(under)], out_shape=strip.shape, transform=strip.affine, dtype="float32"
        )
        return found
