"""Polygons on disk, as this project writes them (raw ones: `hpcl.ingest`). Equal tables become equal bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError
from shapely.errors import ShapelyError

from hpcl.core.artifacts import remedy, replacing, unwritten


class VectorError(ValueError):
    """A vector file that cannot be read; the message names file, finding and remedy."""


def read(path: Path, layer: str | None = None) -> gpd.GeoDataFrame:
    """The features of a GeoPackage, shapefile or GeoJSON: of ``layer``, or of the only one, or the only one of polygons."""
    try:
        return gpd.read_file(path, engine="pyogrio", layer=layer or polygon_layer(path, path))
    except (DataSourceError, DataLayerError, FeatureError, GeometryError, ShapelyError) as error:
        found = "is not a vector file GDAL can read" if path.exists() else "does not exist"
        raise VectorError(f"{path} {found}; {remedy(path)}.") from error


def polygon_layer(source: Path | str, path: Path) -> str | None:
    """Which layer of several is meant; tables without geometry (QGIS keeps styles in one) are none.

    ``source`` is what GDAL opens, ``path`` the name for a sentence. Where layers do not say what they hold (KML), those
    with anything in them count.
    """
    kinds = {str(name): kind for name, kind in pyogrio.list_layers(source) if kind is not None}
    if len(kinds) < 2:
        return next(iter(kinds), None)
    polygons = [name for name, kind in kinds.items() if "Polygon" in kind or "Surface" in kind]
    if not polygons:
        unsaid = [name for name, kind in kinds.items() if kind.endswith(("Unknown", "GeometryCollection"))]
        polygons = [
            name for name in unsaid if pyogrio.read_info(source, layer=name, force_feature_count=True)["features"]
        ]
    if len(polygons) == 1:
        return polygons[0]
    raise VectorError(
        f"{path} has the layers {', '.join(kinds)}, of which {len(polygons)} hold polygons; give a file with the one that counts."
    )


def write(path: Path, table: gpd.GeoDataFrame) -> None:
    """Write a GeoPackage whose bytes depend on ``table`` alone: GDAL would stamp the clock into it."""
    write_layers(path, {path.stem: table})


def write_layers(path: Path, tables: Mapping[str, gpd.GeoDataFrame]) -> None:
    """The same with a layer for each of ``tables``, in their order."""
    stamp = {"OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z"}
    pyogrio.set_gdal_config_options(stamp)
    try:
        with replacing(path) as draft:
            try:
                for layer, table in tables.items():
                    kind = {} if len(table) else {"geometry_type": "Polygon"}
                    table.to_file(draft, driver="GPKG", engine="pyogrio", layer=layer, **kind)
            except (DataSourceError, DataLayerError, FeatureError) as error:
                raise unwritten(path, error) from error
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(stamp))


def digest(shape: shapely.Geometry) -> str:
    """What an outline is known by again: equal for equal outlines, wherever their rings begin, to the centimetre. SHA-256.

    A polygon and the collection of it alone are one outline: files hold all polygons as collections if one of them is.
    """
    shape = shapely.normalize(shape)
    rings = shapely.get_num_coordinates(shapely.get_rings(shapely.get_parts(shape)))
    corners = np.round(shapely.get_coordinates(shape), 2) + 0.0  # + 0.0: there is one zero
    return hashlib.sha256(rings.astype("<i8").tobytes() + corners.astype("<f8").tobytes()).hexdigest()
