"""The grid of an area: the image's own if it is a map in metres with north up, else a local one that is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyproj
from odc.geo.crs import CRS
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertConformalConic1SPConversion, TransverseMercatorConversion
from pyproj.exceptions import ProjError

from hpcl.geo.raster import Grid
from hpcl.ingest.grids import crs_of, is_north_up, is_square, name_of, north_up, pixel_of
from hpcl.ingest.operations import operation
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError, IngestSettings

TURNED_MAX_DEG = 30.0
"""How far grid north may lie from north. In national grids they converge to some 15 degrees; slopes and suns are said by it."""


def _geodetic(grid: Grid) -> Any:
    """Longitude and latitude on the datum of a grid, as a pyproj CRS."""
    return crs_of(grid).proj.geodetic_crs


def _to_degrees(grid: Grid, x: Any, y: Any) -> tuple[Any, Any]:
    """Longitude and latitude, on the grid's own datum, of points in its CRS."""
    geodetic = _geodetic(grid)
    lon, lat = pyproj.Transformer.from_crs(crs_of(grid).proj, geodetic, always_xy=True).transform(x, y)
    unit = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
    return np.asarray(lon) * unit, np.asarray(lat) * unit


def _distortion(grid: Grid) -> tuple[float, float]:
    """How far a grid of metres is from the ground, at its worst: in lengths [share of 1], and in directions [degrees].

    Directions: of its y from north and of its x from east. Both are inf where the CRS has no ground for the grid.
    """
    height, width = grid.shape
    columns, rows = np.meshgrid(np.linspace(0, width, 17), np.linspace(0, height, 17))
    x, y = (a.ravel() for a in grid.affine * (columns, rows))
    step = pixel_of(grid)
    lon, lat = _to_degrees(grid, np.stack([x - step, x + step, x, x]), np.stack([y, y, y - step, y + step]))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and np.abs(lat).max() <= 90):
        return math.inf, math.inf
    azimuth, _, ground = _geodetic(grid).get_geod().inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
    if not ground.min() > 0:
        return math.inf, math.inf
    turned = (azimuth - np.array([[90.0], [0.0]]) + 180) % 360 - 180
    return float(np.abs(2 * step / ground - 1).max()), float(np.abs(turned).max())


def stretch_frac(grid: Grid) -> float:
    """How far a map metre of the grid is from a metre on the ground, where and in the direction in which it is worst."""
    return _distortion(grid)[0]


def _local_crss(grid: Grid) -> Iterator[CRS]:
    """Maps in metres around the middle of a grid, for ever wider ones.

    The UTM zone if its datum can be reached from the grid's; a transverse Mercator, true along its meridian; a conformal
    cone, true along two parallels.
    """
    lon, lat = (float(a) for a in _to_degrees(grid, *(grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2))))
    geodetic = _geodetic(grid)
    if abs(geodetic.ellipsoid.semi_major_metre - 6378137) < 5000 and -80 < lat < 84:
        east = lon + math.degrees(geodetic.prime_meridian.longitude * geodetic.prime_meridian.unit_conversion_factor)
        utm = CRS(f"EPSG:{(32600 if lat >= 0 else 32700) + int((east + 180) % 360 // 6) + 1}")
        if not operation(crs_of(grid), utm, grid).ballpark:
            yield utm
    lon = (lon + 180) % 360 - 180
    _, lats = _to_degrees(grid, *(grid.affine * (np.full(2, grid.shape[1] / 2), np.array([0, grid.shape[0]]))))
    half = math.radians(np.ptp(lats)) / 2
    meridian = TransverseMercatorConversion(round(lat, 2), round(lon, 2), scale_factor_natural_origin=1.0)
    cone = LambertConformalConic1SPConversion(
        round(lat, 2) or 0.01,  # on the equator a cone is a cylinder, which has another formula
        round(lon, 2),
        scale_factor_natural_origin=round(1 - half**2 / 4, 5),
    )
    for conversion, kind in ((meridian, "transverse Mercator"), (cone, "conformal conic")):
        name = f"{geodetic.name} / local {kind}"
        yield CRS(ProjectedCRS(conversion, name=name, geodetic_crs=geodetic).to_wkt())


def _local_grid(optical: Raw, settings: IngestSettings) -> Grid:
    """The first local grid whose metres are metres."""
    grid = optical.grid
    for crs in _local_crss(grid):
        try:
            target = north_up(grid, crs, operation(crs_of(grid), crs, grid))
        except ProjError:
            continue
        if stretch_frac(target) <= settings.stretch_max_frac:
            return target
    raise IngestError(
        f"{optical.path} covers more ground than any one map shows true to scale"
        f" (to the {settings.stretch_max_frac:.2g} of ingest.stretch_max_frac); cut out the area that is to be mapped."
    )


def image_grid(optical: Raw, settings: IngestSettings) -> tuple[Grid, str | None]:
    """The grid of everything: the optical file's own if its metres are metres and its north is up, else a local one, and why.

    Raises `IngestError` for a grid that no local map can show.
    """
    grid = optical.grid
    crs = crs_of(grid).proj
    if not crs_of(grid).projected:
        why = "a geographic CRS"
    elif any(abs(axis.unit_conversion_factor - 1) > 1e-9 for axis in crs.axis_info[:2]):
        why = f"a CRS in {crs.axis_info[0].unit_name}"
    else:
        stretch, turned = _distortion(grid)
        if stretch > settings.stretch_max_frac:
            why = f"a CRS that stretches lengths by {100 * stretch:.2g}% here"
        elif turned > TURNED_MAX_DEG:
            why = f"a CRS whose axes point {turned:.0f} degrees away from east and north here"
        elif not (is_north_up(grid) and is_square(grid)):
            target = north_up(grid, crs_of(grid), operation(crs_of(grid), crs_of(grid), grid))
            what = "is not on a north-up grid of square pixels and was resampled to one"
            return target, f"{optical.path.name} {what} with pixels of {pixel_of(target):.4g} m."
        else:
            return grid, None
    target = _local_grid(optical, settings)
    what = f"has {why} ({name_of(crs_of(grid))}) and was reprojected to {name_of(crs_of(target))}"
    return target, f"{optical.path.name} {what} with pixels of {pixel_of(target):.4g} m."
