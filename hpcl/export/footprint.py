"""The outline of a grid in longitude and latitude, as GeoJSON wants it: in two parts across the antimeridian, closed over a pole.

On Earth these are WGS 84. On another body they are degrees on the ellipsoid of the area's own CRS, longitudes to the east from
its reference meridian, -180 to 180, and planetographic latitudes; on a sphere those are planetocentric as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.polygon import orient

from hpcl.export.body import EARTH, body
from hpcl.geo.raster import Grid

SIDE_POINTS = 33
"""Along each side of a grid: a straight side is a curve in degrees."""
DIGITS = 7
"""Of a degree: a centimetre."""
STRAIGHT_DEG = 1e-6
"""By how much a side may run beside its points: on most grids the corners are enough."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Footprint:
    """Ground in degrees: its parts, anticlockwise, and ``box_deg`` (west, south, east, north), whose west is larger than its
    east if it lies across the antimeridian."""

    parts: tuple[Polygon, ...]
    box_deg: Box

    @property
    def shape(self) -> Polygon | MultiPolygon:
        """The parts as one geometry."""
        return self.parts[0] if len(self.parts) == 1 else MultiPolygon(self.parts)


def footprint(grid: Grid) -> Footprint | None:
    """Where a grid lies; None if nobody can say: it has no CRS, or one of no known body, or it lies beyond its projection."""
    outline = _outline(grid)
    if outline is None:
        return None
    ring = outline.copy()
    ring[:, 0] = np.unwrap(outline[:, 0], period=360)
    if abs(ring[-1, 0] - ring[0, 0]) > 180:
        return _polar(ring)
    shape = Polygon(ring).buffer(0)
    west, south, east, north = shape.bounds
    if east - west >= 360:
        return _made([box(-180, south, 180, north)])
    shape = translate(shape, -360 * np.floor((west + 180) / 360))
    beyond = translate(shape.intersection(box(180, -90, 540, 90)), -360)
    return _made([shape.intersection(box(-180, -90, 180, 90)), beyond])


def joined(footprints: Sequence[Footprint]) -> Footprint | None:
    """Several together; None of none. Round the world in longitude if one of several lies across the antimeridian."""
    if len(footprints) < 2:
        return next(iter(footprints), None)
    west, south, east, north = np.array([each.box_deg for each in footprints]).T
    ends = (-180.0, 180.0) if (west > east).any() else (float(west.min()), float(east.max()))
    parts = tuple(part for each in footprints for part in each.parts)
    return Footprint(parts, (ends[0], float(south.min()), ends[1], float(north.max())))


def _outline(grid: Grid) -> npt.NDArray[np.float64] | None:
    """The closed ring of a grid ``(point, longitude and latitude)``; None if it has none."""
    crs = None if grid.crs is None else CRS(grid.crs.proj)
    if crs is None or crs.geodetic_crs is None or body(crs) is None:
        return None
    rows, columns = grid.shape
    corners = np.array([(0, 0), (0, rows), (columns, rows), (columns, 0), (0, 0)], float)
    steps = np.linspace(0, 1, SIDE_POINTS, endpoint=False)[:, None]
    sides = [start + steps * (end - start) for start, end in pairwise(corners)]
    x, y = grid.affine * tuple(np.concatenate([*sides, corners[-1:]]).T)
    try:
        lon, lat = Transformer.from_crs(crs, _degrees(crs), always_xy=True).transform(x, y)
    except ProjError:
        return None
    ring = np.round(np.column_stack([lon, lat]), DIGITS + 2)
    return ring if np.isfinite(ring).all() else None


def _degrees(crs: CRS) -> CRS:
    ellipsoid = crs.ellipsoid
    if ellipsoid is None or body(crs) == EARTH:
        return CRS("EPSG:4326")
    return CRS({"proj": "longlat", "a": ellipsoid.semi_major_metre, "b": ellipsoid.semi_minor_metre})


def _polar(ring: npt.NDArray[np.float64]) -> Footprint | None:
    """Of a ring that goes once round a pole: all between it and that pole."""
    pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
    ring = ring if ring[-1, 0] > ring[0, 0] else ring[::-1]
    line = np.concatenate([ring + np.array([turns * 360.0, 0.0]) for turns in range(-3, 4)])
    ends = [(line[-1, 0], pole), (line[0, 0], pole)]
    return _made([Polygon([*line.tolist(), *ends]).buffer(0).intersection(box(-180, -90, 180, 90))])


def _made(shapes: Sequence[shapely.Geometry]) -> Footprint | None:
    """Of what lies before the antimeridian and, perhaps, of what lies beyond it; None of nothing."""
    sides = [
        [part for part in shapely.get_parts(shape) if isinstance(part, Polygon) and part.area > 0] for shape in shapes
    ]
    parts = tuple(
        orient(shapely.transform(part.simplify(STRAIGHT_DEG), lambda corners: np.round(corners, DIGITS) + 0.0))
        for side in sides
        for part in side
    )
    if not parts:
        return None
    west = min(part.bounds[0] for part in sides[0] or sides[-1])
    east = max(part.bounds[2] for part in sides[-1] or sides[0])
    _, south, _, north = MultiPolygon(parts).bounds
    return Footprint(parts, (round(west, DIGITS), south, round(east, DIGITS), north))
