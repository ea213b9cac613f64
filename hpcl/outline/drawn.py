"""Polygons drawn onto a grid: what is delivered, as pixels that can be scored."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from rasterio.features import rasterize

from hpcl.core.artifacts import remedy
from hpcl.geo import vector
from hpcl.geo.raster import Grid

Float32 = npt.NDArray[np.float32]
POLYGONS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


class DrawnError(ValueError):
    """Polygons that do not belong to the map that they are to be drawn on."""


class Drawn:
    """A file of polygons as a raster of ``grid``: 1 where a pixel's centre lies inside one, 0 elsewhere."""

    def __init__(self, path: Path, grid: Grid) -> None:
        """Raises `DrawnError` where the file holds no polygons in the CRS of the grid, as the stage outline writes them."""
        table = vector.read(path)
        if not isinstance(table, gpd.GeoDataFrame):
            raise DrawnError(f"{path} holds no polygons; {remedy(path)}.")
        if table.crs is None or table.crs != pyproj.CRS(str(grid.crs)):
            name = "none" if table.crs is None else table.crs.name
            raise DrawnError(
                f"{path} is in another CRS ({name}) than the map that it outlines; save it in that of"
                f" {path.parent / 'class.tif'}, or {remedy(path)}."
            )
        shapes = np.asarray(table.geometry.values, dtype=object)
        self._grid = grid
        self._shapes = shapes[np.isin(shapely.get_type_id(shapes), POLYGONS)]
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
