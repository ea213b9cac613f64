"""The grid of an area: the image's own if its metres are metres on the ground, else a local metric one."""

from __future__ import annotations

from typing import Any

import pyproj
from odc.geo.crs import CRS
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion

from hpcl.ingest.grids import crs_of, is_north_up, is_square, name_of, north_up, pixel_of
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestSettings
from hpcl.raster import Grid


def _geodetic(grid: Grid) -> Any:
    """Longitude and latitude on the datum of a grid, as a pyproj CRS."""
    return crs_of(grid).proj.geodetic_crs


def _to_degrees(grid: Grid, x: Any, y: Any) -> tuple[Any, Any]:
    """Longitude and latitude, on the grid's own datum, of points in its CRS."""
    lon, lat = pyproj.Transformer.from_crs(crs_of(grid).proj, _geodetic(grid), always_xy=True).transform(x, y)
    return lon, lat


def _centre(grid: Grid) -> tuple[float, float]:
    x, y = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    return x, y


def stretch_frac(grid: Grid) -> float:
    """How far a map metre in the middle of the grid is from a metre on the ground, in the worse direction."""
    x, y = _centre(grid)
    step = pixel_of(grid)
    lon, lat = _to_degrees(grid, [x - step, x + step, x, x], [y, y, y - step, y + step])
    _, _, ground = _geodetic(grid).get_geod().inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
    return float(max(abs(2 * step / metres - 1) for metres in ground))


def _local_crs(grid: Grid) -> CRS:
    """The UTM zone of the middle of a grid; on another body or near a pole, a transverse Mercator centred on it."""
    lon, lat = _to_degrees(grid, *_centre(grid))
    geodetic = _geodetic(grid)
    if abs(geodetic.ellipsoid.semi_major_metre - 6378137) < 5000 and -80 < lat < 84:
        return CRS(f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) % 360 // 6) + 1}")
    centred = TransverseMercatorConversion(round(lat, 2), round(lon, 2), scale_factor_natural_origin=1.0)
    name = f"{geodetic.name} / local transverse Mercator"
    return CRS(ProjectedCRS(centred, name=name, geodetic_crs=geodetic).to_wkt())


def image_grid(optical: Raw, settings: IngestSettings) -> tuple[Grid, str | None]:
    """The grid of everything: the optical file's own if its metres are metres, else a local one, and why."""
    grid = optical.grid
    crs = crs_of(grid).proj
    if not crs_of(grid).projected:
        why = "a geographic CRS"
    elif any(abs(axis.unit_conversion_factor - 1) > 1e-9 for axis in crs.axis_info[:2]):
        why = f"a CRS in {crs.axis_info[0].unit_name}"
    elif (stretch := stretch_frac(grid)) > settings.stretch_max_frac:
        why = f"a CRS that stretches lengths by {stretch:.0%} here"
    elif not (is_north_up(grid) and is_square(grid)):
        target = north_up(grid, crs_of(grid))
        what = "is not on a north-up grid of square pixels and was resampled to one"
        return target, f"{optical.path.name} {what} with pixels of {pixel_of(target):.4g} m."
    else:
        return grid, None
    target = north_up(grid, _local_crs(grid))
    what = f"has {why} ({name_of(crs_of(grid))}) and was reprojected to {name_of(crs_of(target))}"
    return target, f"{optical.path.name} {what} with pixels of {pixel_of(target):.4g} m."
