"""Raw grids beside the image's grid: where one lies on the other, in any CRS that maps know."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geom import BoundingBox
from pyproj.exceptions import ProjError

from hpcl.geo.raster import Grid, Roi

if TYPE_CHECKING:
    from hpcl.ingest.operations import Operation


@lru_cache(maxsize=64)
def horizontal(crs: pyproj.CRS) -> CRS:
    """A CRS without its heights, named by its EPSG code if it surely has one (a search that takes half a second)."""
    flat = crs.to_2d() if len(crs.axis_info) == 3 else crs
    code = flat.to_epsg(min_confidence=100)
    return CRS(f"EPSG:{code}" if code else flat.to_wkt())


def lattice(grid: Grid, crs: CRS, way: Operation, points: int = 17) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """x and y in ``crs`` of a lattice over ``grid``, edges included; ``way`` leads from one CRS to the other, or back."""
    height, width = grid.shape
    columns, rows = np.meshgrid(np.linspace(0, width, points), np.linspace(0, height, points))
    x, y = grid.affine * (columns.ravel(), rows.ravel())
    if grid.crs == crs:
        return x, y
    if (grid.crs, crs) == (way.source, way.target):
        return way.forward(x, y)
    if (grid.crs, crs) == (way.target, way.source):
        return way.backward(x, y)
    raise TypeError(f"an operation from {way.source} to {way.target} for {grid.crs} and {crs}")


def facing(grid: Grid, image: Grid, way: Operation) -> tuple[Grid, tuple[int, int] | None]:
    """A raw grid with its x counted as ``way`` counts it: within half a turn of the image; and how columns are rolled.

    Longitudes of 179 to 181 and of -181 to -179 are one place. Where a raster goes round the globe and its seam lies under
    the image, its grid becomes a full turn of columns, of which the first is the given one of the file (see `Raw.roll`).
    """
    (height, width), a = grid.shape, grid.affine
    if way.turn_x is None or a.b or a.d:
        return grid, None
    turns = round((way.middle_x - (a * (width / 2, 0))[0]) / way.turn_x)
    if turns:
        a = Affine.translation(turns * way.turn_x, 0) * a
        grid = Grid(grid.shape, a, grid.crs)
    columns_px = round(way.turn_x / abs(a.a))
    x, _ = lattice(image, crs_of(grid), way)
    columns, _ = ~a * (x, 0)
    inside = np.nanmin(columns) >= 0 and np.nanmax(columns) <= width
    if inside or 2 * width < columns_px or abs(columns_px * abs(a.a) - way.turn_x) > 0.01 * abs(a.a):
        return grid, None
    first = round((~a * (way.middle_x, 0))[0] - columns_px / 2)
    return Grid((height, columns_px), a * Affine.translation(first, 0), grid.crs), (first, columns_px)


def window_on(area: Grid, of: Grid, way: Operation, grow_px: int = 0) -> Roi | None:
    """Rows and columns of the grid ``of`` that ``area`` lies on, grown by some pixels; None if it lies elsewhere."""
    x, y = lattice(area, crs_of(of), way)
    columns, rows = ~of.affine * (x, y)
    seen = np.isfinite(columns) & np.isfinite(rows)
    if not seen.any():
        return None
    # A thousandth of a pixel is rounding of coordinates, not a further row.
    spans = []
    for at, size in ((rows[seen], of.shape[0]), (columns[seen], of.shape[1])):
        if at.max() <= 1e-3 or at.min() >= size - 1e-3:
            return None
        start, stop = math.floor(at.min() + 1e-3) - grow_px, math.ceil(at.max() - 1e-3) + grow_px
        spans.append(slice(max(start, 0), min(stop, size)))
    return spans[0], spans[1]


def same_place(grid: Grid, crs: CRS, way: Operation) -> bool:
    """Whether ``crs`` puts ``grid`` where its own CRS does, to .01 pixel, however differently the two are written."""
    if grid.crs == crs:
        return True
    if crs_of(grid).projected != crs.projected:
        return False
    here, there = lattice(grid, crs_of(grid), way), lattice(grid, crs, way)
    with np.errstate(invalid="ignore"):  # a point without an image in `crs` is inf, and far away
        return bool(max(np.abs(a - b).max() for a, b in zip(here, there, strict=True)) < 0.01 * pixel_of(grid))


def crs_of(grid: Grid) -> CRS:
    """The CRS of a grid; every grid here has one, because `Raw` refuses a file without."""
    if grid.crs is None:
        raise TypeError("a grid without a CRS")
    return grid.crs


def pixel_of(grid: Grid) -> float:
    """Side of the square as large as a pixel, in units of the CRS."""
    return math.sqrt(abs(grid.affine.determinant))


def is_north_up(grid: Grid) -> bool:
    """Whether rows run south and columns run east along the axes of the CRS, to 0.01 pixel over the grid."""
    a = grid.affine
    return a.a > 0 and a.e < 0 and max(abs(a.b), abs(a.d)) * max(grid.shape) < 0.01 * pixel_of(grid)


def is_square(grid: Grid) -> bool:
    """Whether pixels are as high as wide, to a hundredth."""
    return math.isclose(abs(grid.affine.a), abs(grid.affine.e), rel_tol=0.01)


def north_up(grid: Grid, crs: CRS, way: Operation) -> Grid:
    """The north-up grid of square pixels in ``crs`` that covers ``grid`` at the resolution of its middle.

    Raises `ProjError` where the grid lies outside of what ``crs`` can map.
    """
    x, y = lattice(grid, crs, way)
    height, width = grid.shape
    middle = lattice(grid[height // 2 : height // 2 + 1, width // 2 : width // 2 + 1], crs, way, 2)
    (dx1, dx2), (dy1, dy2) = ((a[1] - a[0], a[2] - a[0]) for a in middle)
    pixel = math.sqrt(abs(dx1 * dy2 - dx2 * dy1))
    if not (np.isfinite(x).all() and np.isfinite(y).all() and pixel > 0):
        raise ProjError(f"outside of {name_of(crs)}")
    if grid.crs == crs:
        return Grid.from_bbox(
            BoundingBox(x.min(), y.min(), x.max(), y.max(), crs), resolution=pixel_of(grid), tight=True
        )
    return Grid.from_bbox(BoundingBox(x.min(), y.min(), x.max(), y.max(), crs), resolution=float(f"{pixel:.4g}"))


def name_of(crs: CRS) -> str:
    """The name of a CRS for a sentence, with its EPSG code if it has one."""
    code = str(crs)
    return f"{crs.proj.name} ({code})" if code.startswith("EPSG:") else str(crs.proj.name)


def offset_px(source: Grid, target: Grid) -> tuple[int, int] | None:
    """Row and column of ``source`` at which ``target`` begins, if the two are cut from the same lattice of pixels."""
    if source.crs != target.crs:
        return None
    m = ~source.affine * target.affine
    size = max(target.shape)
    fits = max(abs(m.a - 1), abs(m.e - 1), abs(m.b), abs(m.d)) * size < 0.01
    row, column = round(m.f), round(m.c)
    return (row, column) if fits and max(abs(m.f - row), abs(m.c - column)) < 0.01 else None


def zoom_of(source: Grid, target: Grid, way: Operation) -> float:
    """Pixels of ``target`` per pixel of ``source`` along a side, in its middle; 1 if there are as many or more."""
    rows, columns = (size // 2 for size in target.shape)
    x, y = lattice(target[rows : rows + 1, columns : columns + 1], crs_of(source), way, 2)
    columns_px, rows_px = ~source.affine * (x, y)
    across, down = ((a[1] - a[0], a[2] - a[0]) for a in (columns_px, rows_px))
    area_px = abs(across[0] * down[1] - across[1] * down[0])
    zoom = 1 / math.sqrt(area_px)
    return zoom if zoom < 0.9 else 1.0


def covered_frac(grid: Grid, image: Grid, way: Operation) -> float:
    """Share of the image's rectangle that a raster's rectangle covers."""
    footprint = shapely.Polygon(np.column_stack(_outline(grid, crs_of(image), way)))
    return float(shapely.area(footprint.intersection(image.extent.geom)) / image.extent.geom.area)


def _outline(grid: Grid, crs: CRS, way: Operation, points: int = 17) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    x, y = (a.reshape(points, points) for a in lattice(grid, crs, way, points))
    ring = [np.concatenate([a[0], a[1:, -1], a[-1, -2::-1], a[-2:0:-1, 0]]) for a in (x, y)]
    return ring[0], ring[1]
