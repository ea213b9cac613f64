"""Raw outlines: any vector file that mappers use, read without trusting it; what is lost on the way is counted."""

from __future__ import annotations

import json
import mmap
import os
import re
import stat
import tempfile
import textwrap
import warnings
import xml.parsers.expat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio
import pyproj
import shapely
from pyogrio.errors import GeometryError
from pyproj.exceptions import CRSError

from hpcl.geo import vector
from hpcl.ingest.settings import IngestError

_DRIVERS = {
    ".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".geojson": "GeoJSON", ".json": "GeoJSON", ".kml": "LIBKML",
    ".kmz": "LIBKML", ".gml": "GML", ".fgb": "FlatGeobuf", ".gdb": "OpenFileGDB",
}  # fmt: skip
_MAGIC = {
    ".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a", ".kmz": b"PK\x03\x04", ".fgb": b"fgb\x03",
    ".parquet": b"PAR1", ".geoparquet": b"PAR1",
}  # fmt: skip
_OFFLINE = {"GDAL_HTTP_PROXY": "http://127.0.0.1:0", "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{noext}none"}
"""No port is 0: whatever GDAL might still ask of a network fails at once."""


@dataclass(frozen=True)
class Outlines:
    """Polygons of a raw file, two-dimensional and finite, in the CRS of the file; not yet repaired."""

    table: gpd.GeoDataFrame
    lost: dict[str, int]
    """How many features were given, and how many of them are of no use, by cause; see `LOSSES`."""
    findings: tuple[str, ...]


LOSSES = {
    "null": "no geometry",
    "empty": "an empty geometry",
    "unreadable": "a damaged geometry",
    "not_finite": "a coordinate that is no number",
    "other_kinds": "a point, a line or a surface instead of a polygon",
}
"""What makes a feature useless before it is placed on the ground; the sentence says 'had ...'."""


def read(path: Path, keep: Callable[[str], bool] | None = None) -> Outlines:
    """The polygons of ``path``, with those of its columns that matter (id, class and what looks like a class), or those to ``keep``.

    Raises `IngestError` in one sentence for whatever is not a sound file of a kind that is read.
    """
    suffix, wanted = check(path), keep or _matters
    findings: list[str] = []
    columns, crs = (
        _parquet(path, wanted) if suffix in (".parquet", ".geoparquet") else _ogr(path, suffix, findings, wanted)
    )
    shapes, lost, kinds = polygons(columns.pop("geometry"))
    if not len(shapes):
        if kinds:
            raise IngestError(f"{path} holds geometries of type {', '.join(kinds)}; give the outlines as polygons.")
        had = ", ".join(f"{lost[key]} with {what}" for key, what in LOSSES.items() if lost[key])
        raise IngestError(f"{path} has no polygons{f' ({had})' if had else ''}; draw some, or take the file away.")
    if crs is None:
        raise IngestError(f"{path} has no coordinate reference system; save it again with the one it was drawn in.")
    told = [f"{lost[key]} had {what}" for key, what in LOSSES.items() if lost[key]]
    if told:
        findings.append(f"{path.name}: of {lost['given']} features, {', '.join(told)}; these were left out.")
    if lost["collections"]:
        findings.append(
            f"{path.name}: of {lost['collections']} collections of geometries only the polygons were taken."
        )
    kept = {name: values[shapes.index] for name, values in columns.items()}
    return Outlines(gpd.GeoDataFrame(kept, geometry=shapes.to_numpy(), crs=crs), lost, tuple(findings))


# --------------------------------------------------------------------------------------- before a library sees it


def check(path: Path) -> str:
    """The suffix of a file that may be opened, in small letters; any other is refused."""
    suffix = path.suffix.casefold()
    _check_there(path, folder=suffix == ".gdb")
    _check_content(path, suffix)
    return suffix


def _check_there(path: Path, folder: bool = False) -> None:
    """Refuse what cannot be opened, in words of its true cause; opening a pipe would wait for ever."""
    if not path.exists():
        where = f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"
        raise IngestError(f"{path} {where}; put the file itself there.")
    mode = path.stat().st_mode
    if folder != stat.S_ISDIR(mode):
        what = "is a folder" if stat.S_ISDIR(mode) else "is no folder, as a file geodatabase is"
        raise IngestError(f"{path} {what}; give the outlines as a file of their own, as in {path.stem}.gpkg.")
    if folder:
        for part in sorted(path.iterdir()):
            if not (part.is_file() or part.is_dir()):
                raise IngestError(f"{part} is no ordinary file; copy the whole file geodatabase again.")
        return
    if not stat.S_ISREG(mode):
        raise IngestError(f"{path} is no ordinary file but a pipe, a socket or a device; put a copy of the file there.")
    if not path.stat().st_size:
        raise IngestError(f"{path} is empty; copy the file again.")
    if not os.access(path, os.R_OK):
        raise IngestError(f"{path} may not be read by you; give yourself the right, as in `chmod u+r '{path}'`.")


def _check_content(path: Path, suffix: str) -> None:
    """Refuse a file that is not what its name says.

    GDAL goes by content and tries every driver it has: a VRT under another name would open any file of this machine, or
    any address. So content must agree with the name before GDAL sees it; the names allowed are those of `READ_SUFFIXES`.
    """
    if suffix == ".gdb":
        if not (path / "a00000001.gdbtable").exists():
            raise IngestError(
                f"{path} is no file geodatabase (it has no a00000001.gdbtable); copy the whole folder again."
            )
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if magic := _MAGIC.get(suffix):
            sound = content[: len(magic)] == magic
        elif suffix in (".geojson", ".json"):
            sound = content[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
            if sound and (address := _remote_crs(content)):
                raise IngestError(
                    f"{path} takes its coordinate reference system from {address}, and nothing is fetched from a network;"
                    " save the file again with a named one."
                )
        else:
            sound = _is_xml_of(content, {".kml": ("kml",), ".gml": ("FeatureCollection",)}[suffix])
    if not sound:
        raise VectorContentError(path)


class VectorContentError(IngestError):
    """A file that is not what its name says, or too damaged to read."""

    def __init__(self, path: Path, why: str = "") -> None:
        cause = textwrap.shorten(why, 160, placeholder="...").rstrip(".").replace(". ", "; ")
        why = f" ({cause})" if cause else ""
        super().__init__(
            f"{path} is not a vector file that can be read by its name{why}; give a complete GeoPackage, shapefile or"
            " GeoJSON, or any other file of docs/input.md, under its own suffix."
        )


_CRS_KEY = re.compile(rb'"(?:c|\\u00[46]3)(?:r|\\u00[57]2)(?:s|\\u00[57]3)"\s*:\s*(?=\{)', re.IGNORECASE)


def _remote_crs(content: Any) -> str | None:
    """The address from which a GeoJSON file wants its CRS fetched, as the standard of 2008 allowed."""
    for found in _CRS_KEY.finditer(content):
        tail = content[found.end() : found.end() + 65536].decode("utf-8", "replace")
        try:
            crs, _ = json.JSONDecoder().raw_decode(tail)
        except ValueError:
            continue
        if str(crs.get("type", "")).casefold() in ("link", "url"):
            properties = crs.get("properties")
            return str(next(iter(properties.values()), "an address") if isinstance(properties, dict) else "an address")
    return None


def _is_xml_of(content: Any, roots: tuple[str, ...]) -> bool:
    """Whether the first element of an XML file is one of ``roots``, and nothing in it would call another driver."""
    if content.find(b"<OGR") >= 0 or content.find(b"<!ENTITY") >= 0:
        return False
    names: list[str] = []
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = lambda name, _: names.append(name.rpartition(":")[2])
    with suppress(xml.parsers.expat.ExpatError):
        parser.Parse(content[:65536], False)
    return bool(names) and names[0] in roots


# ------------------------------------------------------------------------------------------- through the libraries


def _ogr(
    path: Path, suffix: str, findings: list[str], keep: Callable[[str], bool]
) -> tuple[dict[str, Any], pyproj.CRS | None]:
    """Columns and CRS of a file that GDAL reads; geometries as WKB."""
    with warnings.catch_warnings(), _source(path, suffix, findings) as source:
        warnings.simplefilter("ignore", RuntimeWarning)  # what comes of GDAL's doubts is counted here
        try:
            layer = vector.polygon_layer(source, path)
            info = pyogrio.read_info(source, layer=layer, encoding=_raw(suffix))
            if info["driver"] != _DRIVERS[suffix]:
                raise VectorContentError(path)
            wanted = [name for name in info["fields"] if keep(name)]
            options = {"layer": layer, "columns": wanted}
            try:
                meta, _, shapes, values = pyogrio.raw.read(source, **options)
                declared = meta["encoding"] == "UTF-8"  # else GDAL knows no encoding and reads bytes as Latin-1
            except UnicodeDecodeError:
                if suffix != ".shp":
                    raise
                declared = False
            if not declared:
                meta, _, shapes, values = pyogrio.raw.read(source, encoding=_raw(suffix), **options)
                values = [_decoded(column, path, findings) for column in values]
        except (IngestError, vector.VectorError):
            raise
        except GeometryError as error:  # a layer whose declared type pyogrio does not know: TIN, PolyhedralSurface
            raise IngestError(
                f"{path} holds surfaces of patches or triangles (TIN, PolyhedralSurface); give the outlines as polygons."
            ) from error
        # Damaged files end in errors of pyogrio's own code (IndexError, UnboundLocalError) as well as GDAL's.
        except Exception as error:
            raise VectorContentError(path, str(error).replace(str(source), path.name)) from error
    if shapes is None:
        raise IngestError(f"{path} has no polygons; draw some, or take the file away.")
    try:
        crs = pyproj.CRS(meta["crs"]) if meta["crs"] else None
    except CRSError as error:
        raise VectorContentError(path, "its coordinate reference system is damaged") from error
    columns = {name: pd.Series(column) for name, column in zip(meta["fields"], values, strict=True)}
    return {**columns, "geometry": pd.Series(list(shapes), dtype=object)}, crs


def _raw(suffix: str) -> str | None:
    """The encoding under which a shapefile's text comes as its bytes, one character each."""
    return "ISO-8859-1" if suffix == ".shp" else None


def _parquet(path: Path, keep: Callable[[str], bool]) -> tuple[dict[str, Any], pyproj.CRS | None]:
    try:
        with np.errstate(invalid="ignore"):  # as in `polygons`
            table = gpd.read_parquet(path)
    # Damaged metadata end in errors of pyarrow, json, pyproj and shapely, of a dozen classes.
    except Exception as error:
        raise VectorContentError(path, str(error)) from error
    columns = {
        name: table[name].reset_index(drop=True)
        for name in table.columns
        if name != table.geometry.name and keep(str(name))
    }
    shapes = pd.Series(list(shapely.to_wkb(table.geometry.values)), dtype=object)
    return {**columns, "geometry": shapes}, table.crs


@contextmanager
def _source(path: Path, suffix: str, findings: list[str]) -> Iterator[str | Path]:
    """What to hand to GDAL, with the network closed, and nothing written beside a raw file."""
    options = dict(_OFFLINE)
    with tempfile.TemporaryDirectory() as aside:
        source: str | Path = path
        if suffix in (".geojson", ".json"):
            source = f"GeoJSON:{path}"  # leaves GDAL no other driver, of those that JSON has
        elif suffix == ".shp":
            source, missing = _shapefile(path, Path(aside))
            if ".shx" in missing:
                options["SHAPE_RESTORE_SHX"] = "YES"
                findings.append(f"{path.name} has no .shx beside it; its index was made again, and nothing is lost.")
            if ".dbf" in missing:
                findings.append(
                    f"{path.name} has no .dbf beside it, so classes and ids are lost; copy it too, if there is one."
                )
        elif path.suffix != suffix or suffix == ".gml":
            # Drivers know suffixes in small letters; and beside a GML file GDAL would leave a schema of its own.
            source = Path(aside) / f"outlines{suffix}"
            source.symlink_to(path.absolute())
        pyogrio.set_gdal_config_options(options)
        try:
            yield source
        finally:
            pyogrio.set_gdal_config_options(dict.fromkeys(options))


def _shapefile(path: Path, aside: Path) -> tuple[Path, set[str]]:
    """A shapefile's parts, however their suffixes are written, as links in another folder; and those that lack."""
    missing = {".shx", ".dbf", ".prj", ".cpg"}
    for part in sorted(path.parent.iterdir()):
        suffix = part.suffix.casefold()
        if part.stem.casefold() == path.stem.casefold() and suffix in missing:
            _check_there(part)
            (aside / f"outlines{suffix}").symlink_to(part.absolute())
            missing.remove(suffix)
    (aside / "outlines.shp").symlink_to(path.absolute())
    return aside / "outlines.shp", missing


def _decoded(column: npt.NDArray[Any], path: Path, findings: list[str]) -> npt.NDArray[Any]:
    """Text whose encoding no one declared: UTF-8 if it is, else what its bytes look like, and that is said."""
    if column.dtype != object:
        return column
    texts = [None if text is None else text.encode("latin-1", "replace") for text in column]
    known = [text for text in texts if text is not None]
    encoding = _encoding(b"\n".join(known))
    read = [None if text is None else text.decode(encoding, "replace") for text in texts]
    if encoding != "utf-8":
        example = next(
            a for a, b in zip(read, texts, strict=True) if a is not None and b is not None and not b.isascii()
        )
        findings.append(
            f"{path.name} does not say truly how its text is encoded; it was read as {encoding.upper()} (as in '{example}')."
            f" If that is wrong, write the encoding into {path.stem}.cpg."
        )
    return np.array(read, dtype=object)


def _encoding(text: bytes) -> str:
    """UTF-8 if the bytes are; GBK if they are pairs of common Chinese characters; else that of western Windows."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        runs = re.findall(rb"[\x80-\xff]+", text)
        common = all(len(run) % 2 == 0 and all(0xB0 <= lead <= 0xD7 for lead in run[::2]) for run in runs)
        if common and max(map(len, runs)) >= 4:
            return "gbk"
        return "cp1252"
    return "utf-8"


# ------------------------------------------------------------------------------------------------------ what it holds

_CLASS_LIKE = re.compile(
    r"klass|class|clase|^typ$|^tipo$|typ[eo]$|^kind$|^category$|^categor[iy]a$|^label$|^movement$|^material$",
    re.IGNORECASE,
)


def plain(name: str) -> str:
    """A column's name without blanks, ends and case; KML writes a blank as _."""
    return name.strip(" _").casefold()


def _matters(name: str) -> bool:
    return name == "id" or looks_like_class(name)


def looks_like_class(name: str) -> bool:
    """Whether someone may have written classes into a column of this name."""
    return _CLASS_LIKE.search(plain(name)) is not None


_KINDS = {15: "PolyhedralSurface", 16: "TIN", 17: "Triangle"}


def polygons(raw: pd.Series) -> tuple[pd.Series, dict[str, int], list[str]]:
    """The polygons among geometries in WKB, by their places; what else there was, counted; and its kinds by name."""
    given = len(raw)
    null = raw.isna()
    raw = raw[~null]
    with np.errstate(invalid="ignore"):  # GEOS says so of a coordinate that is no number, which is counted below
        shapes = pd.Series(shapely.from_wkb(raw.to_numpy(), on_invalid="fix"), index=raw.index, dtype=object)
    lost = shapes.isna()
    codes = {at: int.from_bytes(raw[at][1:5], "little" if raw[at][0] else "big") % 1000 for at in raw.index[lost]}
    surfaces = {at for at, code in codes.items() if code in _KINDS}
    shapes = shapes[~lost]
    empty = pd.Series(shapely.is_empty(shapes.to_numpy()), index=shapes.index, dtype=bool)
    shapes = shapes[~empty]
    kinds = pd.Series(shapely.get_type_id(shapes.to_numpy()), index=shapes.index)
    collections = shapes[kinds == 7].map(_of_collection)
    shapes[kinds == 7] = collections
    held = kinds.isin([3, 6]) | ((kinds == 7) & ~shapely.is_empty(shapes.to_numpy()))
    names = {shape.geom_type for shape in shapes[~held & (kinds != 7)]} | {_KINDS[codes[at]] for at in surfaces}
    names |= {"GeometryCollection"} if ((kinds == 7) & ~held).any() else set()
    shapes = shapes[held]
    flat = pd.Series(shapely.force_2d(shapes.to_numpy()), index=shapes.index, dtype=object)
    coordinates, at = shapely.get_coordinates(flat.to_numpy(), return_index=True)
    broken = np.zeros(len(flat), bool)
    broken[at[~np.isfinite(coordinates).all(axis=1)]] = True
    counts = {
        "given": given, "null": int(null.sum()), "empty": int(empty.sum()),
        "unreadable": int(lost.sum()) - len(surfaces), "not_finite": int(broken.sum()),
        "other_kinds": int((~held).sum()) + len(surfaces), "collections": int((held & (kinds == 7)).sum()),
    }  # fmt: skip
    return flat[~broken], counts, sorted(names)


def _of_collection(shape: Any) -> Any:
    """The polygons of a collection, however deep, as one geometry."""
    polygons: list[Any] = []
    parts = [shape]
    while parts:
        part = parts.pop(0)
        if part.geom_type in ("MultiPolygon", "GeometryCollection"):
            parts += part.geoms
        elif part.geom_type == "Polygon" and not part.is_empty:
            polygons.append(part)
    return shapely.MultiPolygon(polygons)
