"""Review files: a mapper's answers, as a GeoPackage with a layer for each kind of question, or as GeoJSON with a property ``layer``.

Programs that people work in have them open, add columns and leave nulls; browsers save them. Both forms say the same.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import shapely
from odc.geo.crs import CRS
from pyproj.exceptions import CRSError, ProjError

from hpcl.core.artifacts import write_bytes
from hpcl.core.review import ALLOWED, COLUMNS, LAYERS
from hpcl.geo import vector
from hpcl.geo.raster import Grid
from hpcl.ingest import outlines
from hpcl.ingest.grids import crs_of, horizontal, name_of
from hpcl.ingest.operations import brought, operation
from hpcl.ingest.settings import IngestError
from hpcl.ingest.vector_files import REVIEW_SUFFIXES

FIELDS: dict[str, type] = {**COLUMNS, "class": str}
"""What is read and written of a row. ``class`` is that of a landslide that is to join an inventory of several."""
LOGS = ("-wal", "-journal")
"""What SQLite leaves beside a database that a program has open: what was saved, and is not yet in the file."""


def read(path: Path, image: Grid, area: str) -> tuple[gpd.GeoDataFrame, CRS]:
    """The rows of a review file, with their ``layer``, in the image's CRS; and the CRS that they were drawn in.

    Text has no blanks around it, decisions are in small letters, and what is not there is empty (0 in whole numbers). A shape is
    None where a row that is not decided has no polygon. Raises `IngestError` in one sentence.
    """
    if path.suffix.casefold() not in REVIEW_SUFFIXES:
        raise IngestError(f"{path} is no review file; give a GeoPackage (.gpkg) or GeoJSON (.geojson).")
    suffix = outlines.check(path)
    parts = _of_geopackage(path) if suffix == ".gpkg" else _of_geojson(path, area)
    tables, drawn_in = [_empty(image)], crs_of(image)
    for layer, columns, crs in parts:
        rows = _rows(path, layer, columns)
        table = gpd.GeoDataFrame(rows, geometry="geometry", crs=crs or crs_of(image).proj)
        table, own = _brought(table, path, image)
        drawn_in = own if own != crs_of(image) else drawn_in
        tables += [table] if len(table) else []
    found = gpd.GeoDataFrame(pd.concat(tables, ignore_index=True), geometry="geometry", crs=crs_of(image).proj)
    _check_place(path, found, image)
    return found, drawn_in


def check_closed(path: Path) -> None:
    """Refuse a file that a program has open with something saved that is not yet in it: DVC would look past that."""
    for end in LOGS:
        log = path.with_name(path.name + end)
        if log.exists() and log.stat().st_size:
            raise IngestError(
                f"{path} is open in another program, and what was saved there still stands in {log.name}; close that program, and"
                " run again."
            )


def write(path: Path, table: gpd.GeoDataFrame, area: str) -> None:
    """Write rows, as `read` gives them, in the form that ``path`` names; equal rows become equal bytes."""
    if path.suffix.casefold() == ".gpkg":
        vector.write_layers(path, layers(table))
    else:
        write_bytes(path, _geojson(table, area).encode())


def layers(table: gpd.GeoDataFrame, further: Mapping[str, type] | None = None) -> dict[str, gpd.GeoDataFrame]:
    """A table for each layer of a GeoPackage, of all rows; ``further`` are columns behind `FIELDS`."""
    kinds = {**FIELDS, **(further or {})}
    rows = table[[*kinds, "geometry"]].astype({name: "object" if kind is str else kind for name, kind in kinds.items()})
    return {layer: rows[(table["layer"] == layer).to_numpy()] for layer in LAYERS}


def _geojson(table: gpd.GeoDataFrame, area: str) -> str:
    """Rows as GeoJSON, a line each, in their own CRS, which is named as GDAL does it."""
    code = table.crs.to_epsg(min_confidence=100)
    named = {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{code}"}}} if code else {}
    features = []
    for row in table.to_dict("records"):
        said = {name: None if pd.isna(row[name]) else row[name] for name in ("layer", *FIELDS)}
        shape = shapely.geometry.mapping(row["geometry"]) if row["geometry"] else None
        features.append(json.dumps({"type": "Feature", "properties": said, "geometry": shape}, allow_nan=False))
    head = json.dumps({"type": "FeatureCollection", "area": area, **named}).removesuffix("}")
    return head + ', "features": [\n' + ",\n".join(features) + "\n]}\n"


# ---------------------------------------------------------------------------------------------------- the two forms

Part = tuple[str, pd.DataFrame, pyproj.CRS | None]
"""Rows of one layer as they are, their ``geometry`` as WKB, and their CRS."""


def _of_geopackage(path: Path) -> list[Part]:
    """The layers of a copy, into which goes what a program that has the file open saved; nothing is written beside a file."""
    with tempfile.TemporaryDirectory() as aside:
        copy = Path(aside) / "review.gpkg"
        for end in ("", *LOGS):
            if (given := path.with_name(path.name + end)).exists():
                shutil.copyfile(given, copy.with_name(copy.name + end))
        try:
            with closing(sqlite3.connect(copy)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                database.execute("PRAGMA journal_mode=DELETE").fetchall()
            kinds = {str(name): kind for name, kind in pyogrio.list_layers(copy) if kind is not None}
        # Damaged files end in errors of SQLite, of GDAL's and of pyogrio's own code.
        except Exception as error:
            raise outlines.VectorContentError(path, str(error).replace(str(copy), path.name)) from error
        named = {_layer(path, name): name for name in kinds}
        if not named:
            raise IngestError(f"{path} has no layers; give a review file, which has {', '.join(LAYERS)}.")
        return [_layer_of(copy, path, layer, named[layer]) for layer in LAYERS if layer in named]


def _layer_of(copy: Path, path: Path, layer: str, name: str) -> Part:
    try:
        fields = {str(field): str(field).strip().casefold() for field in pyogrio.read_info(copy, layer=name)["fields"]}
        wanted = [field for field, plain in fields.items() if plain in FIELDS]
        meta, _, shapes, values = pyogrio.raw.read(copy, layer=name, columns=wanted)
        crs = pyproj.CRS(meta["crs"]) if meta["crs"] else None
    except Exception as error:  # as in `_of_geopackage`
        raise outlines.VectorContentError(path, str(error).replace(str(copy), path.name)) from error
    columns = {fields[field]: pd.Series(column) for field, column in zip(meta["fields"], values, strict=True)}
    return layer, pd.DataFrame({**columns, "geometry": pd.Series([] if shapes is None else shapes, dtype=object)}), crs


def _of_geojson(path: Path, area: str) -> list[Part]:
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise outlines.VectorContentError(path, str(error)) from error
    features: Any = given.get("features") if given.get("type") == "FeatureCollection" else None
    sound = isinstance(features, list) and all(_is_feature(feature) for feature in features)
    if not sound:
        raise IngestError(f"{path} is no FeatureCollection of features with properties, as a review is; save it again.")
    if given.get("area") not in (None, area):
        raise IngestError(
            f"{path} holds answers about the area {given['area']!r}, and not about {area!r}; give that area's."
        )
    crs = _named_crs(path, given.get("crs"))
    rows: dict[str, list[dict[str, Any]]] = {}
    for feature in features:
        said = {name: value for name, value in feature["properties"].items() if name in FIELDS}
        shape = shapely.from_geojson(json.dumps(feature.get("geometry")), on_invalid="ignore")
        layer = _layer(path, feature["properties"].get("layer"))
        rows.setdefault(layer, []).append({**said, "geometry": shape and shapely.to_wkb(shape)})
    return [(layer, pd.DataFrame(rows[layer], dtype=object), crs) for layer in LAYERS if layer in rows]


def _is_feature(feature: Any) -> bool:
    return isinstance(feature, dict) and isinstance(feature.get("properties"), dict)


def _named_crs(path: Path, given: Any) -> pyproj.CRS | None:
    """The CRS that a GeoJSON file names; None for the area's own."""
    if given is None:
        return None
    try:
        return pyproj.CRS(given["properties"]["name"])
    except (CRSError, LookupError, TypeError) as error:
        raise IngestError(
            f"{path} names a coordinate reference system that is not known ({str(given)[:80]}); save it in that of the area's maps."
        ) from error


# ------------------------------------------------------------------------------------------------------------ the rows


def _layer(path: Path, name: object) -> str:
    plain = str(name).strip().casefold()
    if plain not in LAYERS:
        raise IngestError(
            f"{path} has {'rows without a layer' if name is None else f'the layer {str(name)!r}'}, and a review has {', '.join(LAYERS)}"
            " only; put anything else into a file of its own."
        )
    return plain


def _rows(path: Path, layer: str, given: pd.DataFrame) -> pd.DataFrame:
    """Rows with all of `FIELDS`, of their types, and shapes; refused where what they say is not understood."""
    if "decision" not in given and len(given):
        raise IngestError(
            f"{path}: its layer {layer} lacks the column 'decision'; give a review file as `audit` made it."
        )
    rows = pd.DataFrame({"layer": [layer] * len(given)}, index=given.index)
    for name, kind in FIELDS.items():
        rows[name] = _typed(given[name] if name in given else pd.Series(None, given.index, dtype=object), kind)
    rows["decision"] = rows["decision"].str.casefold()
    rows["inventory_sha256"] = rows["inventory_sha256"].str.casefold()
    rows["geometry"] = None
    if len(given):
        shapes, _, _ = outlines.polygons(given["geometry"])
        rows.loc[shapes.index, "geometry"] = shapes
    for row in rows.itertuples():
        _check_row(path, row)
    drawn = rows["id"] == ""
    rows.loc[drawn, "id"] = [layer[0] + vector.digest(shape) for shape in rows.loc[drawn, "geometry"]]
    return rows


def _check_row(path: Path, row: Any) -> None:
    allowed = ALLOWED[row.layer]
    name = f"{path}: row {short(row.id)} of {row.layer}" if row.id else f"{path}: a row of {row.layer} without an id"
    if row.decision and row.decision not in allowed:
        raise IngestError(f"{name} has the decision {row.decision!r}; there it is {', '.join(allowed)}, or empty.")
    if row.geometry is None and (row.decision or not row.id):
        raise IngestError(f"{name} is decided and has no polygon; draw one, or take the row out.")
    if not (row.id or row.decision):
        raise IngestError(f"{name} was drawn and not decided; write accept as its decision, or take it out.")


def short(name: str) -> str:
    """As much of an id as tells rows apart."""
    return name if len(name) <= 24 else f"{name[:12]}..."


def is_as_asked(name: str, shape: shapely.Geometry) -> bool:
    """Whether a row's outline is the one that its id was made of, of whose digest the id has at least the beginning."""
    digest = vector.digest(shape)
    return any(digest.startswith(part) for part in (name[1:], name.rpartition("-")[2]))


def _typed(column: pd.Series, kind: type) -> pd.Series:
    if kind is str:
        return pd.Series(["" if pd.isna(v) else str(v).strip() for v in column], column.index, dtype=object)
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    return numbers if kind is float else numbers.where(numbers.abs() < 2.0**53, 0).astype(np.int64)


def _empty(image: Grid) -> gpd.GeoDataFrame:
    columns = {
        name: pd.Series(dtype=object if kind is str else kind) for name, kind in {"layer": str, **FIELDS}.items()
    }
    return gpd.GeoDataFrame(columns, geometry=[], crs=crs_of(image).proj)


def _brought(table: gpd.GeoDataFrame, path: Path, image: Grid) -> tuple[gpd.GeoDataFrame, CRS]:
    """Rows in the image's CRS, and the CRS that they were drawn in."""
    crs = crs_of(image)
    drawn_in = crs if table.crs == crs.proj else horizontal(table.crs)
    if drawn_in == crs or not len(table):
        return table.set_crs(crs.proj, allow_override=True), drawn_in
    try:
        return brought(table, operation(drawn_in, crs, image)), drawn_in
    except ProjError as error:
        raise IngestError(f"{path} cannot be brought into the image's CRS {name_of(crs)}; save it in that.") from error


def _check_place(path: Path, table: gpd.GeoDataFrame, image: Grid) -> None:
    shapes = table.geometry.dropna()
    if not len(shapes) or shapely.intersects(shapes.values, image.extent.geom).any():
        return
    (x, y), box = shapely.get_coordinates(shapes.values)[0], image.extent.geom.bounds
    raise IngestError(
        f"{path} lies nowhere on the area: its first corner is at ({x:.6g}, {y:.6g}), and the image reaches from ({box[0]:.6g},"
        f" {box[1]:.6g}) to ({box[2]:.6g}, {box[3]:.6g}); save it in the CRS of the area's maps, {name_of(crs_of(image))}, or give"
        " that area's."
    )
