"""Mapped landslides: read, repaired, checked and drawn as labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from odc.geo.crs import CRS
from pyproj.exceptions import ProjError
from rasterio.features import rasterize

from hpcl import vector
from hpcl.ingest.grids import crs_of, horizontal, name_of
from hpcl.ingest.operations import brought, operation
from hpcl.ingest.settings import UNKNOWN, IngestError, IngestSettings
from hpcl.raster import Grid

DEFAULT_CLASS = "landslide"
VECTOR_SUFFIXES = (".gpkg", ".shp", ".geojson")


@dataclass(frozen=True)
class Inventory:
    """Mapped landslides in the image's CRS, valid; and where the map is complete (None: everywhere)."""

    table: gpd.GeoDataFrame
    classes: tuple[str, ...]
    extent: Any | None
    facts: dict[str, Any]
    drawn_in: dict[str, CRS]
    """The CRS of each file as it was given."""


def _vector_file(folder: Path, stem: str) -> Path | None:
    found = [folder / f"{stem}{suffix}" for suffix in VECTOR_SUFFIXES if (folder / f"{stem}{suffix}").exists()]
    if len(found) > 1:
        raise IngestError(f"{folder} has {' and '.join(path.name for path in found)}; keep the one that counts.")
    return found[0] if found else None


def _polygons(path: Path, image: Grid) -> tuple[gpd.GeoDataFrame, CRS]:
    """The polygons of a vector file in the image's CRS, not yet repaired; and the CRS they were drawn in."""
    crs = crs_of(image)
    try:
        table = vector.read(path)
    except RuntimeError as error:  # pyogrio's other errors: a layer, a feature or a geometry that GDAL cannot read
        raise IngestError(f"{path} cannot be read ({' '.join(str(error).split())}); export it again.") from error
    if isinstance(table, gpd.GeoDataFrame):  # a table without geometry comes back as a plain one
        table = table[~(table.geometry.isna() | table.geometry.is_empty)]
    if table.empty or not isinstance(table, gpd.GeoDataFrame):
        raise IngestError(f"{path} has no polygons; draw some, or take the file away.")
    if table.crs is None:
        raise IngestError(f"{path} has no coordinate reference system; save it again with the one it was drawn in.")
    kinds = sorted(set(table.geom_type) - {"Polygon", "MultiPolygon"})
    if kinds:
        raise IngestError(f"{path} holds geometries of type {', '.join(kinds)}; give the outlines as polygons.")
    table = table.set_geometry(shapely.force_2d(table.geometry.values))
    drawn_in = crs if table.crs == crs.proj else horizontal(table.crs)
    if drawn_in != crs:
        try:
            table = brought(table, operation(drawn_in, crs, image))
        except ProjError as error:
            raise IngestError(
                f"{path} cannot be brought into the image's CRS {name_of(crs)}; check its CRS."
            ) from error
    if not np.isfinite(table.total_bounds).all():
        raise IngestError(f"{path} has coordinates outside the image's CRS {name_of(crs)}; check its CRS.")
    return table, drawn_in


def _repair(shapes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Valid polygons for invalid ones: crossings become corners, collapsed parts vanish; valid ones stay."""
    shapes = np.array(shapes, dtype=object)
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    return shapes


def _inventory(
    path: Path, extent_path: Path | None, image: Grid, settings: IngestSettings
) -> tuple[Inventory, list[str]]:
    """Read, repair and check an inventory; returns it with the sentences to tell."""
    findings = []
    table, crs = _polygons(path, image)
    drawn_in = {path.name: crs}
    before = table.geometry.values
    broken = int((~shapely.is_valid(before)).sum())
    repaired = _repair(before)
    area_m2 = float(shapely.area(repaired).sum())
    changed_m2 = float(np.abs(shapely.area(repaired) - shapely.area(before)).sum())
    if not area_m2:
        raise IngestError(f"{path} has only polygons without an area; draw some, or take the file away.")
    if changed_m2 > settings.area_change_max_frac * area_m2:
        raise IngestError(
            f"{path} has {broken} invalid polygons of {len(table)}, and repairing them changes the mapped area by"
            f" {changed_m2 / area_m2:.1%}, more than the {settings.area_change_max_frac:.1%} of"
            " ingest.area_change_max_frac; repair them by hand."
        )
    if broken:
        findings.append(
            f"{path.name}: {broken} of {len(table)} polygons were invalid and were repaired,"
            f" which changed the mapped area by {changed_m2 / area_m2:.2%}."
        )
    classes = _classes(table, path)
    ids = _ids(table)
    inside = (shapely.area(repaired) > 0) & shapely.intersects(repaired, image.extent.geom)
    if not inside.any():
        raise IngestError(f"{path} has no polygon where the image lies; check its CRS, or take the file away.")
    if not inside.all():
        left_out = f"{int((~inside).sum())} of {len(table)} polygons lie outside the image"
        findings.append(f"{path.name}: {left_out} and were left out.")
    kept = gpd.GeoDataFrame(
        {"id": ids[inside], "class": classes[inside], "area_m2": np.round(shapely.area(repaired[inside]), 3)},
        geometry=repaired[inside], crs=crs_of(image).proj,
    )  # fmt: skip
    extent = None
    if extent_path is not None:
        ground, drawn_in[extent_path.name] = _polygons(extent_path, image)
        extent = shapely.union_all(_repair(ground.geometry.values))
        if not extent.intersects(image.extent.geom):
            raise IngestError(f"{extent_path} does not overlap the image; check its CRS, or take the file away.")
    facts = {
        "file": path.name, "n": len(kept), "repaired": broken, "area_change_frac": changed_m2 / area_m2,
        "outside": int((~inside).sum()), "area_m2": float(kept["area_m2"].sum()), "labelled_extent": extent is not None,
    }  # fmt: skip
    return Inventory(kept, tuple(sorted(set(kept["class"]))), extent, facts, drawn_in), findings


def _classes(table: gpd.GeoDataFrame, path: Path) -> npt.NDArray[Any]:
    """The class name of every polygon."""
    columns = [c for c in table.columns if c.lower() == "class"]
    if not columns:
        return np.full(len(table), DEFAULT_CLASS, object)
    column = table[columns[0]]
    column = column.astype("string").str.strip().replace("", pd.NA) if column.dtype.kind == "O" else column
    bare = int(column.isna().sum())
    if bare:
        raise IngestError(f"{path} has {bare} polygons without a class; fill the column '{columns[0]}', or remove it.")
    names = np.array([str(name) for name in column], dtype=object)
    many = len(set(names))
    spelt: dict[str, str] = {}
    for name in sorted(set(names)):
        if (other := spelt.setdefault(name.casefold(), name)) != name:
            raise IngestError(
                f"{path} has the classes '{other}' and '{name}' in its column '{columns[0]}'; write both the same way."
            )
    if many >= UNKNOWN:
        raise IngestError(f"{path} has {many} classes in its column '{columns[0]}'; give fewer than {UNKNOWN}.")
    return names


def _ids(table: gpd.GeoDataFrame) -> npt.NDArray[np.int64]:
    """The inventory's own whole-number ids if they tell its polygons apart, else 1, 2, 3..."""
    if "id" in table and table["id"].dtype.kind in "iu" and table["id"].is_unique:
        return np.asarray(table["id"], dtype=np.int64)
    return np.arange(1, len(table) + 1)


def label_block(inventory: Inventory, grid: Grid, unknown: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Codes ``(row, column)`` of a block: class index from 1, 0 background, 255 outside the extent or ``unknown``.

    A pixel belongs to the polygon that holds its centre; of overlapping polygons the smallest counts.
    """
    table = inventory.table
    hit = table.iloc[np.sort(table.sindex.query(grid.extent.geom))]
    hit = hit.sort_values("area_m2", ascending=False, kind="stable")
    codes = [inventory.classes.index(name) + 1 for name in hit["class"]]
    labels = np.zeros(grid.shape, np.uint8)
    if codes:
        labels = rasterize(zip(hit.geometry, codes, strict=True), out=labels, transform=grid.affine)
    if inventory.extent is not None:
        inside = rasterize([inventory.extent], out_shape=tuple(grid.shape), transform=grid.affine, dtype="uint8")
        labels[inside == 0] = UNKNOWN
    labels[unknown] = UNKNOWN
    return labels


def survey_vectors(folder: Path, image: Grid, settings: IngestSettings) -> tuple[Inventory | None, list[str]]:
    """The inventory of an area, if it has one, and the sentences to tell."""
    path, extent_path = _vector_file(folder, "landslides"), _vector_file(folder, "labelled_extent")
    inventory: Inventory | None = None
    findings: list[str] = []
    if path is not None:
        inventory, findings = _inventory(path, extent_path, image, settings)
    else:
        missing = "There is no inventory (landslides.gpkg, .shp or .geojson)"
        findings.append(f"{missing}; the area is mapped, but not trained on or scored.")
        if extent_path is not None:
            findings.append(f"{extent_path.name} is not used, because there is no inventory.")
    others = [
        p.name for p in sorted(folder.iterdir()) if p.suffix.lower() in VECTOR_SUFFIXES and p not in (path, extent_path)
    ]
    if others:
        findings.append(f"{', '.join(others)}: not used, because only landslides and labelled_extent are read.")
    return inventory, findings
