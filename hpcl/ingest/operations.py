"""From one CRS to another: one coordinate operation for all of an area, for pixels and outlines alike.

PROJ knows several operations between two CRSs, each with an area of its own. Left to themselves, pyproj chooses one for
each point and GDAL one for each raster, with another PROJ and another database, so that outlines and pixels of one CRS part
by up to a hundred metres. So it is chosen here, once, and both engines are given the same pipeline.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from odc.geo.crs import CRS
from pyproj.aoi import AreaOfInterest
from pyproj.exceptions import ProjError
from pyproj.transformer import TransformerGroup

from hpcl.geo.raster import Grid

WGS84: Any = pyproj.CRS("EPSG:4326")
SAME_M = 5.0
"""Data of today (ETRS89, NAD83, CGCS2000, GDA2020...) lie this close to WGS 84; the old ones lie 50 m off and more."""


@dataclass(frozen=True)
class Operation:
    """How coordinates of ``source`` become those of ``target`` on the ground of one area; x before y in both."""

    source: CRS
    target: CRS
    name: str
    accuracy_m: float | None
    """None: not known, as for a "ballpark", which leaves longitude and latitude as they are."""
    pipeline: str
    """For PROJ. Backwards it gives x within half a turn of ``middle_x``."""
    turn_x: float | None
    """Length of a full turn of longitude in x of the source; None where its map does not close."""
    middle_x: float
    """x of the middle of the area in the source."""
    same_datum: bool
    """Whether both data are known to be the same to `SAME_M`, whatever the operation says of itself."""
    better: str | None
    """A more accurate operation whose grid is not installed, and the grid."""

    @cached_property
    def _transformer(self) -> pyproj.Transformer:
        return pyproj.Transformer.from_pipeline(self.pipeline)

    def forward(self, x: Any, y: Any) -> tuple[Any, Any]:
        """x and y in ``target``, inf where there are none."""
        out: tuple[Any, Any] = self._transformer.transform(x, y)
        return out

    def backward(self, x: Any, y: Any) -> tuple[Any, Any]:
        """x and y in ``source``, inf where there are none."""
        out: tuple[Any, Any] = self._transformer.transform(x, y, direction="INVERSE")
        return out

    @property
    def ballpark(self) -> bool:
        """Whether nobody knows the shift between two different data."""
        return "ballpark" in self.name.lower() and not self.same_datum

    def doubt(self, pixel_m: float) -> str | None:
        """What its owner must know of the operation beside an image with such pixels; None if it is good enough."""
        if self.same_datum:
            return None
        way = f"from {self.source.proj.name} to {self.target.proj.name}"
        remedy = f"reproject with one that fits your region and give the result in {self.target.proj.name}"
        better = f" ({self.better} is not installed)" if self.better else ""
        if self.ballpark:
            return (
                f"no shift {way} is known here{better}, so longitude and latitude were taken over as they are,"
                f" which may be wrong by some hundred metres; {remedy}."
            )
        if self.accuracy_m is None or self.accuracy_m > pixel_m:
            right = "of unknown accuracy" if self.accuracy_m is None else f"right to {self.accuracy_m:.3g} m only"
            return (
                f"the shift {way} is '{self.name}', {right}, and a pixel of the image has {pixel_m:.3g} m{better};"
                f" if the layers do not fit, {remedy}."
            )
        return None


@lru_cache(maxsize=64)
def operation(source: CRS, target: CRS, ground: Grid) -> Operation:
    """The best operation that PROJ has for the whole of ``ground``, a grid in either CRS or another.

    Raises `ProjError` if there is none.
    """
    area = _area_of_interest(ground)
    group = _group(source.proj, target.proj, area)
    x, y = ground.affine * (ground.shape[1] / 2, ground.shape[0] / 2)
    for found in group.transformers:
        there = (x, y) if ground.crs == source else found.transform(x, y, direction="INVERSE")
        if np.isfinite([*there, *found.transform(*there)]).all():
            break
    else:
        raise ProjError(f"no operation from {source} to {target}")
    parts = [part.strip() for part in found.description.split(" + ")]
    name = " + ".join(part for part in parts if part and not part.startswith("axis order change"))
    missing = [o for o in group.unavailable_operations if o.accuracy >= 0 and not 0 <= found.accuracy <= o.accuracy]
    better = missing[0] if missing else None  # PROJ's order: by how much of the area they serve
    grids = ", ".join(g.short_name for g in better.grids if not g.available) if better else ""
    turn = turn_of(source)
    steps = found.definition.removeprefix("proj=pipeline ")
    steps = steps if steps.startswith("step ") else f"step {steps}"
    if turn is not None:
        steps = f"{_around(float(there[0]), turn, source.geographic)} {steps}"
    return Operation(
        source, target, name or "none needed", float(found.accuracy) if found.accuracy >= 0 else None,
        f"proj=pipeline {steps}", turn, float(there[0]), _same_datum(source, target, area),
        f"'{better.name}', with {grids}," if better else None,
    )  # fmt: skip


def brought(table: gpd.GeoDataFrame, way: Operation) -> gpd.GeoDataFrame:
    """A table in the source's CRS with its vertices in the target's."""
    shapes = shapely.transform(table.geometry.values, way.forward, interleaved=False)
    return table.set_geometry(gpd.GeoSeries(shapes, index=table.index, crs=way.target.proj))


def _group(source: pyproj.CRS, target: pyproj.CRS, area: Any = None) -> TransformerGroup:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a missing grid, which `Operation.better` tells
        return TransformerGroup(source, target, always_xy=True, area_of_interest=area)


def _area_of_interest(ground: Grid) -> AreaOfInterest:
    """Longitudes and latitudes of a grid in its own datum; west may be larger than east, across the 180th meridian."""
    if ground.crs is None:
        raise TypeError("a grid without a CRS")
    height, width = ground.shape
    columns, rows = np.meshgrid(np.linspace(0, width, 17), np.linspace(0, height, 17))
    geodetic: Any = ground.crs.proj.geodetic_crs
    to_degrees = pyproj.Transformer.from_crs(ground.crs.proj, geodetic, always_xy=True)
    x, y = ground.affine * (columns, rows)
    lon, lat = to_degrees.transform(x, y)
    to_degree = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
    prime = geodetic.prime_meridian
    lon, lat = lon * to_degree + math.degrees(prime.longitude * prime.unit_conversion_factor), lat * to_degree
    seen = np.isfinite(lon) & np.isfinite(lat)
    if not seen.any():
        raise ProjError(f"outside of {ground.crs}")
    middle = lon[8, 8] if seen[8, 8] else lon[seen][0]
    from_middle = (lon[seen] - middle + 180) % 360 - 180
    west, east = ((middle + edge + 180) % 360 - 180 for edge in (from_middle.min(), from_middle.max()))
    return AreaOfInterest(float(west), float(lat[seen].min()), float(east), float(lat[seen].max()))


@lru_cache(maxsize=64)
def turn_of(crs: CRS) -> float | None:
    """Length in x of a full turn of longitude: of degrees, and of cylinders unrolled; None for other maps."""
    unit = crs.proj.axis_info[0].unit_conversion_factor
    if crs.geographic:
        return 2 * math.pi / float(unit)
    geodetic: Any = crs.proj.geodetic_crs
    project = pyproj.Transformer.from_crs(geodetic, crs.proj, always_xy=True)
    lon, lat = np.meshgrid(np.arange(-179.9, 180, 10.0), [-40.0, 0.0, 40.0])
    to_unit = 1 / math.degrees(geodetic.axis_info[0].unit_conversion_factor)
    x, y = project.transform(lon * to_unit, lat * to_unit)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    step = np.median(np.diff(x, axis=1))
    off = np.abs(np.diff(x, axis=1) - step) > 1e-6 * abs(step)
    closes = off.sum(axis=1).max() <= 1 and np.ptp(y, axis=1).max() < 1e-6 * abs(step)  # one step meets the seam
    return float(abs(step) * 36) if closes and step else None


def _around(middle: float, turn: float, geographic: bool) -> str:
    """Steps of a pipeline that leave x as it is, but for turns: they bring it within half a turn of ``middle``.

    PROJ brings the longitudes of a projection within 180 degrees of its central meridian: here a plate carrée, in
    radians. The latitude is made small beside it, because it may be the y of a map.
    """

    def scaled(to: float) -> str:
        return f"proj=affine s11={to / turn!r} s22={to / turn / 10!r} xoff={-middle * to / turn!r}"

    # lat_ts=0 is what it is anyway: of two steps that are spelt alike, there and back, PROJ strikes both out.
    there_again = "proj=eqc R=1 lat_ts=0", 2 * math.pi
    back, unit = ("proj=unitconvert xy_in=rad xy_out=deg", 360.0) if geographic else there_again
    return f"step {scaled(2 * math.pi)} step inv proj=eqc R=1 step {back} step inv {scaled(unit)}"


def _same_datum(source: CRS, target: CRS, area: AreaOfInterest) -> bool:
    """Whether a longitude and latitude of the area mean the same place in both, as far as both ways to WGS 84 tell."""
    geodetics: list[Any] = [crs.proj.geodetic_crs for crs in (source, target)]
    one, other = geodetics
    if one == other:
        return True
    if not (_is_earth(one) and _is_earth(other)):
        return bool(one.ellipsoid == other.ellipsoid)  # another body has one datum, under several names
    lon = area.west_lon_degree + (area.east_lon_degree - area.west_lon_degree) % 360 / 2
    place = lon, (area.south_lat_degree + area.north_lat_degree) / 2
    places = []
    for geodetic in (one, other):
        way = _group(geodetic, WGS84, area).transformers[0]
        if not _is_modern(geodetic) and "ballpark" in way.description.lower():
            return False
        places.append(place if _is_modern(geodetic) else way.transform(*place))
    return bool(WGS84.get_geod().inv(*places[0], *places[1])[2] < SAME_M)


def _is_earth(geodetic: Any) -> bool:
    return bool(abs(geodetic.ellipsoid.semi_major_metre - 6378137) < 5000)


@lru_cache(maxsize=64)
def _is_modern(geodetic: Any) -> bool:
    """Whether a datum is WGS 84 to `SAME_M`: its ellipsoid is, and no operation known anywhere moves the ground by more."""
    mine, theirs = geodetic.ellipsoid, WGS84.ellipsoid
    axes = ((mine.semi_major_metre, theirs.semi_major_metre), (mine.semi_minor_metre, theirs.semi_minor_metre))
    if any(abs(a - b) > 1 for a, b in axes):
        return False
    lon, lat = 10.0, 40.0
    for found in _group(geodetic, WGS84).transformers:
        there = found.transform(lon, lat)
        if np.isfinite(there).all() and WGS84.get_geod().inv(lon, lat, *there)[2] > SAME_M:
            return False
    return True
