"""Elevations of one grid at places of another, and the patches of common ground that are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, transform, transform_bounds

from hpcl.coregister.shift import Array, Point
from hpcl.geo import raster
from hpcl.geo.resample import Warp, in_halves, pipeline_between, resample

PATCH_PX = (24, 128)
"""Smallest and largest side of a patch; in between, a scene is cut into about 16."""

OUTLIER = 4.0
"""Brightness is held within this number of robust standard deviations of its median, and patches that stand further off a tilt
have no say in it: neither one glint nor one unmapped landslide must decide."""

LEAST_LIT_FRAC = 0.2
"""A patch counts if so much of it is known in both."""

MOST_PX = 4 * 1024 * 1024
"""Largest source window that is resampled at once, in pixels and bands."""


def read_on(source: raster.Source, target: raster.Grid, how: Resampling, bands: Sequence[str] | None = None) -> Array:
    """Layers ``(band, row, column)`` of a file on another grid, NaN where it has no data.

    Copied where the two share their pixels. Otherwise GDAL's kernel weighs what is known alone, and a pixel whose
    centre falls on nodata stays nodata, so gaps neither grow nor close.
    """
    grid, (height, width) = source.grid, target.shape
    out = np.full((len(source.bands if bands is None else bands), height, width), np.nan, np.float32)
    offset = _offset_px(grid, target)
    if offset is not None:
        under = [(start, start + size) for start, size in zip(offset, target.shape, strict=True)]
        if (window := _clip(under, grid.shape)) is not None:
            rows, columns = (slice(w.start - start, w.stop - start) for w, start in zip(window, offset, strict=True))
            out[:, rows, columns] = source.read(window, bands)
        return out
    spans = _spans_px(grid, target)
    zoom = math.sqrt(height * width / math.prod(b - a for a, b in spans))  # target pixels per source pixel
    reach = 4 * max(1 / zoom, 1)  # source pixels that a cubic kernel needs, and a spare
    if (window := _clip([(a - reach, b + reach) for a, b in spans], grid.shape)) is None:
        return out
    if len(out) * math.prod(w.stop - w.start for w in window) > MOST_PX and max(height, width) > 1:
        return in_halves(target, lambda part: read_on(source, part, how, bands))
    # Rounded, for every block measures a slightly different one.
    warp = Warp(how, round(zoom, 4) if zoom < 0.9 else 1.0, pipeline_between(grid.crs, target.crs))
    return resample(source.read(window, bands), grid[window], target, warp)


def _offset_px(source: raster.Grid, target: raster.Grid) -> tuple[int, int] | None:
    """Row and column of ``source`` at which ``target`` begins, if both are cut from one lattice of pixels."""
    there = ~source.affine * target.affine
    offset = round(there.f), round(there.c)
    bent = max(abs(there.a - 1), abs(there.e - 1), abs(there.b), abs(there.d)) * max(target.shape)
    aside = max(abs(there.f - offset[0]), abs(there.c - offset[1]))
    return offset if source.crs == target.crs and max(bent, aside) < 1e-3 else None


def _spans_px(source: raster.Grid, target: raster.Grid) -> list[tuple[float, float]]:
    """First and last row, first and last column of ``source`` under ``target``."""
    bounds = target.boundingbox.bbox
    if source.crs != target.crs:
        bounds = transform_bounds(str(target.crs), str(source.crs), *bounds, densify_pts=21)
    left, bottom, right, top = bounds
    columns, rows = ~source.affine * (np.array([left, right]), np.array([top, bottom]))
    return [(float(rows.min()), float(rows.max())), (float(columns.min()), float(columns.max()))]


def _clip(spans: Sequence[tuple[float, float]], shape: Sequence[int]) -> raster.Roi | None:
    """The part of some rows and columns that a shape has."""
    rows, columns = (slice(max(math.floor(a), 0), min(math.ceil(b), n)) for (a, b), n in zip(spans, shape, strict=True))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def moved(grid: raster.Grid, move_m: Point) -> raster.Grid:
    """The grid on which a raster shows what it would show on ``grid`` after it were moved east and north."""
    return raster.Grid(grid.shape, Affine.translation(-move_m[0], -move_m[1]) * grid.affine, grid.crs)


def pixel_size_m(grid: raster.Grid) -> Point:
    """Width and height of a pixel."""
    return abs(grid.affine.a), abs(grid.affine.e)


def away_from_km(grid: raster.Grid, middle: Point, roi: raster.Roi | None = None) -> Array:
    """Kilometres east and north of a point ``(2, row, column)``, for the pixels of a grid or of a part of it.

    The pixels are counted from the grid's corner: a part gives, bit for bit, what the whole does.
    """
    rows, columns = (index + 0.5 for index in np.ogrid[roi or tuple(map(slice, grid.shape))])
    east, north = grid.affine * (columns, rows)
    return np.stack(np.broadcast_arrays(east - middle[0], north - middle[1])).astype(np.float32) / np.float32(1000)


def middle_of(grid: raster.Grid, crs: Any) -> Point:
    """East and north, in a CRS, of the middle of a grid."""
    x, y = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    if grid.crs != crs:
        (x,), (y,) = transform(str(grid.crs), str(crs), [x], [y])
    return x, y


def projected(grid: raster.Grid) -> raster.Grid:
    """The grid itself if it is projected, else one in a transverse Mercator centred on it."""
    assert grid.crs is not None  # `ingest` and `align` see to that
    if grid.crs.projected:
        return grid
    geodetic = pyproj.CRS(str(grid.crs)).to_2d()
    lon, lat = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    centred = TransverseMercatorConversion(round(lat, 3), round(lon, 3), scale_factor_natural_origin=1.0)
    local = ProjectedCRS(centred, name=f"centred on {geodetic.name}", geodetic_crs=geodetic).to_wkt()
    height, width = grid.shape
    affine, width, height = calculate_default_transform(str(grid.crs), local, width, height, *grid.boundingbox.bbox)
    return raster.Grid((height, width), affine, local)


def patches_of(grid: raster.Grid, most: int) -> list[raster.Grid]:
    """At most ``most`` square parts of a grid, evenly spread, apart from each other."""
    height, width = grid.shape
    side = round(min(max(math.sqrt(height * width / 16), PATCH_PX[0]), PATCH_PX[1]))
    down, across = (max(size // side, 1) for size in (height, width))
    if down * across > most:
        thin = math.sqrt(most / (down * across))
        down = min(max(round(down * thin), 1), most)
        across = max(min(round(across * thin), most // down), 1)
    tops = np.linspace(0, max(height - side, 0), down).astype(int)
    lefts = np.linspace(0, max(width - side, 0), across).astype(int)
    return [grid[top : min(top + side, height), left : min(left + side, width)] for top in tops for left in lefts]


def elevation_on(dem: raster.Source, grid: raster.Grid, move_m: Point = (0, 0)) -> Array:
    """Metres ``(row, column)`` of a DEM, moved, on a grid."""
    layer: Array = read_on(dem, moved(grid, move_m), Resampling.cubic)[0]
    return layer


def common_resolution(dem: raster.Grid, image: raster.Grid) -> raster.Grid:
    """The grid of the DEM, made as coarse as the image if that is coarser."""
    coarser = min(a / b for a, b in zip(pixel_size_m(image), pixel_size_m(dem), strict=True))
    return dem.zoom_out(coarser) if coarser > 1.1 else dem
