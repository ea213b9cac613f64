"""Which files of an area are its inventory, its labelled extent and a mapper's review, and which look as if they were meant to be."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from hpcl.ingest.settings import IngestError

INVENTORY, EXTENT, REVIEW = "landslides", "labelled_extent", "review"

READ_SUFFIXES = (
    ".gpkg", ".shp", ".geojson", ".json", ".kml", ".kmz", ".gml", ".fgb", ".gdb", ".parquet", ".geoparquet",
)  # fmt: skip
"""What `outlines` reads, in whatever case it is written; docs/input.md says why these."""

OTHER_SUFFIXES = (
    ".csv", ".tsv", ".xlsx", ".xls", ".ods", ".dxf", ".dwg", ".dgn", ".tab", ".mif", ".mdb", ".accdb", ".zip", ".gz", ".7z",
    ".rar", ".sqlite", ".db", ".vrt", ".gpx", ".topojson", ".geojsonl", ".geojsonseq", ".e00", ".lpk", ".mpk",
)  # fmt: skip
"""Outlines or tables of them in forms that are not read."""

REVIEW_SUFFIXES = (".gpkg", ".geojson")
"""The two forms of a review, which `review_files` reads."""

PARTS = (".dbf", ".shx", ".dvc")
"""Parts of something whose main file ought to lie beside them."""

BESIDE = (
    *PARTS, ".prj", ".qpj", ".cpg", ".sbn", ".sbx", ".qix", ".fix", ".ain", ".aih", ".atx", ".ixs", ".mxs", ".idm", ".ind",
    ".xml", ".xsd", ".gfs", ".qmd", ".qml", ".sld", ".lyr", ".lyrx", ".qlr", ".qgs", ".qgz", ".lock", ".gpkg-wal",
    ".gpkg-shm", ".gpkg-journal", ".md", ".pdf", ".png", ".jpg", ".bak",
)  # fmt: skip
"""Indexes, styles, projects, notes: they may bear the name of the inventory and are none."""


@dataclass(frozen=True)
class VectorFiles:
    """The files that count, where there are any, and others that may have been meant."""

    inventory: Path | None
    extent: Path | None
    reviews: tuple[Path, ...]
    """Of answers, which may be there in two forms."""
    unused: tuple[str, ...]


def find(folder: Path) -> VectorFiles:
    """The vector files of an area by their names, whatever the case.

    Raises `IngestError` if two files claim one name, or if the only one that does is of a kind that is not read.
    """
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    inventory, extent = (_named(stem, entries) for stem in (INVENTORY, EXTENT))
    reviews = _reviews(entries)
    unused = [path.name for path in entries if path not in (inventory, extent, *reviews) and _looks_meant(path)]
    return VectorFiles(inventory, extent, reviews, tuple(unused))


def _reviews(entries: list[Path]) -> tuple[Path, ...]:
    bearing = [path for path in entries if path.stem.casefold() == REVIEW]
    for path in bearing:
        if _suffix(path) in (*READ_SUFFIXES, *OTHER_SUFFIXES) and _suffix(path) not in REVIEW_SUFFIXES:
            raise IngestError(
                f"{path} is no form that a review is read from; save it as {REVIEW}.gpkg or {REVIEW}.geojson, or call it otherwise."
            )
    return tuple(path for path in bearing if _suffix(path) in REVIEW_SUFFIXES)


def _named(stem: str, entries: list[Path]) -> Path | None:
    read = [path for path in entries if _suffix(path) in READ_SUFFIXES and path.stem.casefold() == stem]
    if len(read) > 1:
        names = " and ".join(path.name for path in read)
        raise IngestError(f"{read[0].parent} has {names}; keep the one that counts.")
    others = [path for path in entries if _bears(path, stem) and path not in read]
    if rasters := [path for path in others if _suffix(path) in (".tif", ".tiff")]:
        raise IngestError(
            f"{rasters[0]} is a raster, and would be read as a band of the image; give the outlines as polygons,"
            f" as in {stem}.gpkg, or call the file otherwise."
        )
    if read:
        return read[0]
    strange = [path for path in others if _suffix(path) not in (*BESIDE, *READ_SUFFIXES)]
    parts = [path for path in others if _suffix(path) in PARTS]
    if strange:
        raise IngestError(
            f"{strange[0]} is no file that outlines are read from; save them as {stem}.gpkg (or"
            f" {', '.join(READ_SUFFIXES[1:])}), or call it otherwise."
        )
    if parts:
        what = "dvc pull fetches it" if _suffix(parts[0]) == ".dvc" else "copy it too (.shp of a shapefile)"
        raise IngestError(f"{parts[0]} lies there without the file that it belongs to; {what}, or take it away.")
    return None


def _suffix(path: Path) -> str:
    return path.suffix.casefold()


def _bears(path: Path, stem: str) -> bool:
    """Whether a name before its first dot is ``stem``: also landslides.shp.zip, and a folder landslides."""
    return path.name.partition(".")[0].casefold() == stem


def _looks_meant(path: Path) -> bool:
    """Whether someone may take a file for one of the two: it holds outlines, or it is called nearly like them."""
    suffix = _suffix(path)
    if suffix == ".json" or suffix in OTHER_SUFFIXES:  # any table, any archive, the metadata of an image
        name = path.name.partition(".")[0].casefold().replace(" ", "_").replace("-", "_")
        words = ("landslide", "labelled", "labeled", "inventory")
        near = difflib.get_close_matches(name, (INVENTORY, EXTENT), n=1, cutoff=0.8)
        return bool(near) or any(word in name for word in words)
    return suffix in READ_SUFFIXES
