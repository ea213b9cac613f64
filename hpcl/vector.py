"""Polygons on disk: the only vector reader and writer. Equal tables become equal bytes."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pyogrio
from pyogrio.errors import DataSourceError


class VectorError(ValueError):
    """A vector file that cannot be read; the message names file, finding and remedy."""


def read(path: Path, layer: str | None = None) -> gpd.GeoDataFrame:
    """The features of a GeoPackage, shapefile or GeoJSON."""
    try:
        return gpd.read_file(path, engine="pyogrio", layer=layer)
    except DataSourceError as error:
        found = "is not a vector file GDAL can read" if path.exists() else "does not exist"
        raise VectorError(f"{path} {found}; give a complete GeoPackage, shapefile or GeoJSON there.") from error


def write(path: Path, table: gpd.GeoDataFrame) -> None:
    """Write a GeoPackage whose bytes depend on ``table`` alone: GDAL would stamp the clock into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    stamp = {"OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z"}
    pyogrio.set_gdal_config_options(stamp)
    try:
        table.to_file(path, driver="GPKG", engine="pyogrio", layer=path.stem)
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(stamp))
