"""A probability raster becomes landslide polygons: what a mapper opens in a GIS.

The probability passes in strips, and what touches across two strips is joined at the end: memory grows with the
outlines, not with the scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from affine import Affine
from scipy import ndimage, sparse
from shapely.affinity import affine_transform

from hpcl.core.records import Thresholds
from hpcl.geo import raster
from hpcl.outline.mapped import Mapped
from hpcl.settings.outline import OutlineSettings

Array = npt.NDArray[Any]

STRIP_ROWS = 512
"""Rows read at a time: one row of COG tiles."""


# Seven parameters: the map, what makes outlines of it, and what each outline is to say; all but three go by name.
def landslides(
    path: Path,
    thresholds: Thresholds,
    settings: OutlineSettings,
    *,
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    terrain: Path | None = None,
    elevation: Path | None = None,
) -> gpd.GeoDataFrame:
    """Polygons of ``probability >= threshold``, that of each pixel's network, in a north-up raster in metres, ordered from north
    to south.

    Columns: ``id`` from 1, ``class`` (of ``classes``, that whose band ``probability_<class>`` has the highest mean; the
    only one where there is one), ``area_m2``, ``length_m`` (longer side of the minimum rotated rectangle),
    ``mean_probability``, ``mean_uncertainty`` if the raster has a band `uncertainty` (means over the known pixels whose
    centres lie inside), from ``terrain`` (bands slope, n_east, n_north) ``mean_slope_deg`` and ``aspect_deg`` (where the
    mean normal faces, clockwise from north), from ``elevation`` ``relief_m`` (highest less lowest pixel), and one
    column for each fact of ``provenance``.

    Pixels join across edges, not corners, so that every polygon is valid. Ground without a probability is not mapped,
    but a void inside a landslide is a hole like any other: it is filled if it is smaller than the unit.
    """
    with ExitStack() as files:
        mapped = files.enter_context(Mapped(path, thresholds))
        source, ground = (
            mapped.source,
            [files.enter_context(raster.Source(file)) for file in (terrain, elevation) if file],
        )
        affine = raster.common_grid({one.path: one.grid for one in (source, *ground)}).affine
        shapes = _vectorise(mapped, settings)
        pixel_m = float(np.sqrt(abs(affine.determinant)))
        shapes = _simplify(shapes, settings.simplify_px * pixel_m)
        shapes = _north_to_south(_generalise(shapes, settings.minimum_area_m2))
        bands = [band.name for band in source.bands if band.name in ("probability", "uncertainty")]
        means = _statistics(source, shapes, bands)[0]
        sure = ~(means[:, 0] < settings.minimum_mean_probability)  # a landslide without a known pixel is no less sure
        shapes, means = shapes[sure], means[sure]
        columns = {
            "id": np.arange(1, len(shapes) + 1),
            "class": _most_probable(source, shapes, classes),
            "area_m2": shapely.area(shapes),
            "length_m": np.array([_length_m(shape) for shape in shapes], dtype=np.float64),
            **{f"mean_{band}": means[:, i] for i, band in enumerate(bands)},
            **_relief(shapes, terrain, elevation),
            **{name: np.full(len(shapes), fact, dtype=np.asarray(fact).dtype) for name, fact in provenance.items()},
        }
        return gpd.GeoDataFrame(columns, geometry=shapes, crs=str(source.grid.crs))


def _strips(height: int) -> list[slice]:
    return [slice(top, min(top + STRIP_ROWS, height)) for top in range(0, height, STRIP_ROWS)]


def _vectorise(mapped: Mapped, settings: OutlineSettings) -> Array:
    """Outlines of the patches of landslide, or of the parts that they are cut into, an object array of polygons."""
    height, width = mapped.source.grid.shape
    pieces: list[shapely.Polygon] = []
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    above = np.zeros(width, dtype=np.int64)
    for rows in _strips(height):
        mask = mapped.landslide((rows, slice(0, width)))
        labels, count = ndimage.label(mask)
        found = {
            int(patch): shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:])
            for shape, patch in rasterio.features.shapes(
                labels, mask=mask, connectivity=4, transform=Affine.translation(0, rows.start)
            )
        }
        first, last = (np.where(row > 0, row.astype(np.int64) + len(pieces), 0) for row in (labels[0], labels[-1]))
        both = (above > 0) & (first > 0)
        pairs.append(np.stack([above[both], first[both]]) - 1)
        pieces += [found[patch] for patch in range(1, count + 1)]
        above = last
    patches = _joined(pieces, np.concatenate(pairs, axis=1))
    affine = mapped.source.grid.affine
    if settings.neck_frac:
        from hpcl.outline import parts  # noqa: PLC0415  (scikit-image, a quarter of a second, where nothing is cut)

        fill_px = settings.minimum_area_m2 / abs(affine.determinant)
        patches = [part for patch in patches for part in parts.cut(patch, settings.neck_frac, fill_px)]
    outlines = [_corners(shape) for shape in patches]
    a, b, c, d, e, f = affine[:6]
    return np.array([affine_transform(shape, [a, b, d, e, c, f]) for shape in outlines], dtype=object)


def _joined(pieces: Sequence[shapely.Polygon], pairs: Array) -> list[shapely.Polygon]:
    """One polygon for all ``pieces`` that are linked by ``pairs`` ``(2, pair)`` of their numbers."""
    links = sparse.coo_matrix((np.ones(pairs.shape[1]), pairs), shape=(len(pieces), len(pieces)))
    count, whole = sparse.csgraph.connected_components(links, directed=False)
    groups: list[list[shapely.Polygon]] = [[] for _ in range(count)]
    for piece, number in zip(pieces, whole, strict=True):
        groups[number].append(piece)
    return [shapely.union_all(group) if len(group) > 1 else group[0] for group in groups]


def _corners(shape: shapely.Polygon) -> shapely.Polygon:
    """The same polygon in pixels, with a vertex at every corner and nowhere else, each ring begun at a place of its own."""

    def ring(line: shapely.LinearRing) -> Array:
        points = shapely.get_coordinates(line)[:-1]
        (x0, y0), (x1, y1) = (points - np.roll(points, 1, 0)).T, (np.roll(points, -1, 0) - points).T
        return points[x0 * y1 != x1 * y0]

    return shapely.normalize(shapely.Polygon(ring(shape.exterior), [ring(hole) for hole in shape.interiors]))


def _simplify(shapes: Array, tolerance_m: float) -> Array:
    """Smoothed outlines. As one coverage, so that no outline crosses itself or a neighbour and no gap opens."""
    return np.asarray(shapely.coverage_simplify(shapes, tolerance_m)) if tolerance_m > 0 and len(shapes) else shapes


def _generalise(shapes: Array, minimum_area_m2: float) -> Array:
    """Polygons with holes below the unit filled, and without those that are still below it.

    What stands in a filled hole is smaller than the hole, hence dropped: filling lays no polygon over another.
    """
    filled = [
        shapely.Polygon(shape.exterior, [h for h in shape.interiors if shapely.Polygon(h).area >= minimum_area_m2])
        for shape in shapes
    ]
    return np.array([shape for shape in filled if shape.area >= minimum_area_m2], dtype=object)


def _north_to_south(shapes: Array) -> Array:
    """Shapes by their northern edge, then western edge, then outline: an order that depends on nothing else."""
    keys = [(-shape.bounds[3], shape.bounds[0], shapely.to_wkb(shape)) for shape in shapes]
    return shapes[np.array(sorted(range(len(shapes)), key=keys.__getitem__), dtype=np.int64)]


def _length_m(shape: shapely.Polygon) -> float:
    """Longer side of the minimum rotated rectangle."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(shape))
    return float(np.linalg.norm(np.diff(corners[:3], axis=0), axis=1).max())


def _most_probable(source: raster.Source, shapes: Array, classes: Sequence[str]) -> Array:
    """The class of each shape, ``(shape,)``."""
    names = np.array(classes, dtype=object)
    if len(classes) == 1:
        return names.repeat(len(shapes))
    means = _statistics(source, shapes, [f"probability_{name}" for name in classes])[0]
    return np.asarray(names[np.nan_to_num(means).argmax(axis=1)])


def _relief(shapes: Array, terrain: Path | None, elevation: Path | None) -> dict[str, Array]:
    """What the ground says of each shape, as far as it is given."""
    found: dict[str, Array] = {}
    if terrain is not None:
        with raster.Source(terrain) as source:
            slope, east, north = _statistics(source, shapes, ["slope", "n_east", "n_north"])[0].T
        found |= {"mean_slope_deg": slope, "aspect_deg": np.degrees(np.arctan2(east, north)) % 360}
    if elevation is not None:
        with raster.Source(elevation) as source:
            _, low, high = _statistics(source, shapes, [source.bands[0].name])
        found["relief_m"] = (high - low)[:, 0]
    return found


def _statistics(source: raster.Source, shapes: Array, bands: Sequence[str]) -> tuple[Array, Array, Array]:
    """Mean, lowest and highest value of each band over the known pixels whose centres lie in each shape, each
    ``(shape, band)`` and NaN where there are none, strip by strip."""
    height, width = source.grid.shape
    affine = source.grid.affine
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    top, bottom = (bounds[:, 3] - affine.f) / affine.e, (bounds[:, 1] - affine.f) / affine.e
    sums, counts = np.zeros((2, len(shapes), len(bands)))
    lows, highs = np.full_like(sums, np.inf), np.full_like(sums, -np.inf)
    for rows in _strips(height):
        here = np.flatnonzero((top < rows.stop) & (bottom > rows.start))
        if not len(here):
            continue
        ids = rasterio.features.rasterize(
            ((shapes[i], i + 1) for i in here),
            out_shape=(rows.stop - rows.start, width),
            transform=affine * Affine.translation(0, rows.start),
            dtype=np.int32,
        )
        for band, values in enumerate(source.read((rows, slice(0, width)), bands)):
            known = (ids > 0) & ~np.isnan(values)
            shape, value = ids[known] - 1, values[known].astype(np.float64)
            sums[:, band] += np.bincount(shape, value, minlength=len(shapes))
            counts[:, band] += np.bincount(shape, minlength=len(shapes))
            np.minimum.at(lows[:, band], shape, value)
            np.maximum.at(highs[:, band], shape, value)
    some = counts > 0
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=some)
    return means, np.where(some, lows, np.nan), np.where(some, highs, np.nan)
