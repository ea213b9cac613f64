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
    """A file of polygons as rasters of ``grid``, on which a pixel belongs to what its centre lies in."""

    def __init__(self, path: Path, grid: Grid) -> None:
        """Raises `DrawnError` where the file holds no polygons in the CRS of the grid, as the stages ingest and outline write
        them."""
        table = vector.read(path)
        if not isinstance(table, gpd.GeoDataFrame):
            raise DrawnError(f"{path} holds no polygons; {remedy(path)}.")
        if table.crs is None or table.crs != (due := pyproj.CRS(str(grid.crs))):
            name = "none" if table.crs is None else table.crs.name
            raise DrawnError(
                f"{path} is in another CRS ({name}) than the map that it is drawn on ({due.name}); save it in that one, or"
                f" {remedy(path)}."
            )
        shapes = np.asarray(table.geometry.values, dtype=object)
        self._grid = grid
        self._shapes = shapes[np.isin(shapely.get_type_id(shapes), POLYGONS)]
        self._tree = shapely.STRtree(self._shapes)
        largest_first = np.argsort(-shapely.area(self._shapes), kind="stable")
        self._over = np.empty_like(largest_first)
        self._over[largest_first] = np.arange(len(largest_first))

    def rows(self, rows: slice) -> Float32:
        """Some rows ``(row, column)``: 1 inside a polygon, 0 elsewhere."""
        return (self.numbers(rows) > 0).astype(np.float32)

    def numbers(self, rows: slice) -> npt.NDArray[np.int32]:
        """Some rows ``(row, column)``: 1 and up by polygon, 0 elsewhere. Where polygons overlap the smallest counts, as in the
        labels."""
        strip = self._grid[rows, slice(0, self._grid.shape[1])]
        under = self._tree.query(strip.extent.geom)
        if not len(under):  # rasterio refuses to draw nothing
            return np.zeros(strip.shape, np.int32)
        under = under[np.argsort(self._over[under])]
        drawn = zip(self._shapes[under], (under + 1).tolist(), strict=True)
        return np.asarray(rasterize(drawn, out_shape=strip.shape, transform=strip.affine, dtype="int32"))
