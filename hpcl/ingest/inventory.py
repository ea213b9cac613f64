"""Mapped landslides: brought onto the image, repaired, counted and drawn as labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from affine import Affine
from odc.geo.crs import CRS
from pyproj.exceptions import ProjError
from rasterio.features import rasterize

from hpcl.core.codes import BACKGROUND, UNKNOWN
from hpcl.core.records import InventoryFacts
from hpcl.geo.raster import Grid
from hpcl.ingest import answers, outlines, review, vector_files
from hpcl.ingest.grids import crs_of, horizontal, lattice, name_of
from hpcl.ingest.operations import Operation, brought, operation
from hpcl.ingest.review import Heeded
from hpcl.ingest.settings import IngestError, IngestSettings
from hpcl.ingest.vector_files import VectorFiles

DEFAULT_CLASS = "landslide"
AROUND = 10.0
"""Sides of the image to which outlines are cut around it before they are projected, in their own CRS."""


@dataclass(frozen=True)
class Inventory:
    """Mapped landslides in the image's CRS, valid; and where the map is complete (None: everywhere)."""

    classes: tuple[str, ...]
    extent: Any | None
    facts: InventoryFacts
    drawn_in: dict[str, CRS]
    """The CRS of each file as it was given."""
    heeded: Heeded
    """The landslides, and what else a mapper's answers say."""

    @property
    def table(self) -> gpd.GeoDataFrame:
        """The landslides: ``id``, ``class``, ``area_m2`` and ``source``."""
        return self.heeded.table


def polygons(
    path: Path, image: Grid, keep: Callable[[str], bool] | None = None
) -> tuple[gpd.GeoDataFrame, CRS, dict[str, int], list[str]]:
    """The polygons of a vector file around the image, in the image's CRS, not yet repaired; the CRS they were drawn in; what
    was lost; sentences.

    What lies elsewhere is counted and left out first: a CRS need not know the other side of the world.
    """
    raw = outlines.read(path, keep)
    table, crs = raw.table, crs_of(image)
    drawn_in = crs if table.crs == crs.proj else horizontal(table.crs)
    if drawn_in != crs:
        try:
            way = operation(drawn_in, crs, image)
            table = brought(_around(table, image, way), way)
        except ProjError as error:
            raise IngestError(
                f"{path} cannot be brought into the image's CRS {name_of(crs)}; check its CRS."
            ) from error
        table = table[np.isfinite(table.bounds.to_numpy()).all(axis=1)]
    return table, drawn_in, {**raw.lost, "elsewhere": len(raw.table) - len(table)}, list(raw.findings)


def _around(table: gpd.GeoDataFrame, image: Grid, way: Operation) -> gpd.GeoDataFrame:
    """The outlines around the image in their own CRS; of one that reaches much further, the part that lies there.

    A projection is wrong, or has no answer, far from where it is meant for. Degrees of longitude may be written with 360 more
    or less than the image's.
    """
    x, y = lattice(image, way.source, way)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return table
    grow = AROUND * max(np.ptp(x), np.ptp(y))
    box = (x.min() - grow, y.min() - grow, x.max() + grow, y.max() + grow)
    west, south, east, north = table.bounds.to_numpy().T
    shapes = np.array(table.geometry.values, dtype=object)
    near = np.zeros(len(table), bool)
    for turn in (0.0, 360.0, -360.0) if table.crs.is_geographic else (0.0,):
        found = ~near & (west + turn <= box[2]) & (east + turn >= box[0]) & (south <= box[3]) & (north >= box[1])
        if turn and found.any():
            shapes[found] = shapely.transform(shapes[found], lambda at, turn=turn: np.add(at, [turn, 0.0]))
        near |= found
    bounds = shapely.bounds(shapes)
    far = near & ((bounds[:, :2] < box[:2]) | (bounds[:, 2:] > box[2:])).any(axis=1)
    shapes[far] = shapely.intersection(repair(shapes[far]), shapely.box(*box))
    return table.set_geometry(gpd.GeoSeries(shapes, index=table.index, crs=table.crs))[near]


def repair(shapes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Valid polygons for invalid ones: crossings become corners, collapsed parts vanish; valid ones stay."""
    shapes = np.array(shapes, dtype=object)
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    return shapes


def _inventory(path: Path, files: VectorFiles, image: Grid, settings: IngestSettings) -> tuple[Inventory, list[str]]:
    """Read, repair and check an inventory, and heed the answers about it; returns it with the sentences to tell."""
    table, crs, lost, findings = polygons(path, image)
    drawn_in = {path.name: crs}
    if not len(table):
        raise _nowhere(path)
    repaired, changed, told = _mended(table.geometry.values, path, settings.area_change_max_frac)
    findings += told
    classes, told = _classes(table, path)
    findings += told
    ids = _ids(table)
    taken, left_out, told = _taken(repaired, classes, path, image, lost.pop("elsewhere"))
    findings += told
    kept = gpd.GeoDataFrame(
        {"id": ids[taken], "class": classes[taken], "area_m2": np.round(shapely.area(repaired[taken]), 3),
         "source": review.INVENTORY},
        geometry=repaired[taken], crs=crs_of(image).proj,
    )  # fmt: skip
    heeded = Heeded(kept)
    if files.reviews:
        rows, drawn = answers.read(files.reviews, image)
        heeded = review.heed(
            kept, rows, image, review.Terms(files.reviews[0], ids.tolist(), settings.area_change_max_frac)
        )
        kept, drawn_in = heeded.table, drawn_in | drawn
        findings += heeded.findings
    extent = None
    unlabelled = 0
    if files.extent is not None:
        extent, drawn_in[files.extent.name], told = _extent(files.extent, image)
        findings += told
        shapes = kept.geometry[kept["source"] == review.INVENTORY].values
        unlabelled = int((~shapely.intersects(shapes, extent) | shapely.touches(shapes, extent)).sum())
        if unlabelled:
            findings.append(
                f"{path.name}: {_counted(unlabelled)} outside {files.extent.name}, where nothing is trained on or scored."
            )
    drawing, told = _drawing(kept, path, image)
    findings += told
    facts = InventoryFacts(
        **lost, file=path.name, n=len(kept), **changed, **left_out, **drawing, outside_extent=unlabelled,
        area_m2=float(kept["area_m2"].sum()), labelled_extent=extent is not None, review=list(heeded.counts),
    )  # fmt: skip
    return Inventory(tuple(sorted(set(kept["class"]))), extent, facts, drawn_in, heeded), findings


def _nowhere(path: Path) -> IngestError:
    return IngestError(f"{path} has no polygon where the image lies; check its CRS, or take the file away.")


def _mended(
    shapes: npt.NDArray[Any], path: Path, area_change_max_frac: float
) -> tuple[npt.NDArray[Any], dict[str, Any], list[str]]:
    """The polygons repaired, facts and sentences about it; refused if that changes the mapped area too much."""
    broken = int((~shapely.is_valid(shapes)).sum())
    repaired = repair(shapes)
    area_m2 = float(shapely.area(repaired).sum())
    changed_m2 = float(np.abs(shapely.area(repaired) - shapely.area(shapes)).sum())
    if not area_m2:
        raise IngestError(f"{path} has only polygons without an area; draw some, or take the file away.")
    if not changed_m2 <= area_change_max_frac * area_m2:
        raise IngestError(
            f"{path} has {broken} invalid polygons of {len(shapes)}, and repairing them changes the mapped area by"
            f" {changed_m2 / area_m2:.1%}, more than the {area_change_max_frac:.1%} of"
            " ingest.area_change_max_frac; repair them by hand."
        )
    told = [
        f"{path.name}: {broken} of {len(shapes)} polygons were invalid and were repaired,"
        f" which changed the mapped area by {changed_m2 / area_m2:.2%}."
    ]
    return repaired, {"repaired": broken, "area_change_frac": changed_m2 / area_m2}, told if broken else []


def _taken(
    shapes: npt.NDArray[Any], classes: npt.NDArray[Any], path: Path, image: Grid, elsewhere: int
) -> tuple[npt.NDArray[np.bool_], dict[str, Any], list[str]]:
    """Which polygons count: with an area, on the image, the first of those drawn twice; facts and sentences about the rest.

    ``elsewhere`` is how many were left out before.
    """
    findings = []
    solid = shapely.area(shapes) > 0
    inside = solid & shapely.intersects(shapes, image.extent.geom)
    if not inside.any():
        raise _nowhere(path)
    outside = int((solid & ~inside).sum()) + elsewhere
    collapsed = int((~solid).sum())
    if collapsed:
        findings.append(f"{path.name}: {_counted(collapsed)} without an area, and left out.")
    if outside:
        left_out = f"{outside} of {len(shapes) + elsewhere} polygons lie outside the image"
        findings.append(f"{path.name}: {left_out} and were left out.")
    twice = np.zeros(len(shapes), bool)
    twice[inside] = _doubles(shapes[inside], classes[inside])
    doubles = int(twice.sum())
    if doubles:
        findings.append(f"{path.name}: {_counted(doubles)} drawn twice with one outline, and counted once.")
    return inside & ~twice, {"outside": outside, "collapsed": collapsed, "doubles": doubles}, findings


def _drawing(table: gpd.GeoDataFrame, path: Path, image: Grid) -> tuple[dict[str, Any], list[str]]:
    """What becomes of polygons when they are drawn as labels: those that no pixel shows, and those that cover others."""
    findings = []
    unseen = int(_without_pixel(table.geometry.values, image).sum())
    if unseen:
        findings.append(
            f"{path.name}: {_counted(unseen)} so small or thin that no pixel of the image has its centre inside."
        )
    overlaps = _overlaps(table, abs(image.affine.determinant))
    if overlaps:
        pairs = "1 pair" if overlaps == 1 else f"{overlaps} pairs"
        findings.append(f"{path.name}: {pairs} of polygons of different classes overlap; there the smaller one counts.")
    return {"without_pixel": unseen, "class_overlaps": overlaps}, findings


def _counted(count: int) -> str:
    return "1 polygon is" if count == 1 else f"{count} polygons are"


def _extent(path: Path, image: Grid) -> tuple[Any, CRS, list[str]]:
    """Where the inventory is complete, in the image's CRS; the CRS it was drawn in; what its file lost on the way."""
    table, drawn_in, _, findings = polygons(path, image)
    extent = shapely.union_all(repair(table.geometry.values))
    if not extent.intersects(image.extent.geom):
        raise IngestError(f"{path} does not overlap the image; check its CRS, or take the file away.")
    return extent, drawn_in, findings


def _doubles(shapes: npt.NDArray[Any], classes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which polygons cover exactly the ground of an earlier one of their class, wherever their rings begin."""
    first: dict[Any, list[int]] = defaultdict(list)
    double = np.zeros(len(shapes), bool)
    for at, (bounds, name) in enumerate(zip(shapely.bounds(shapes), classes, strict=True)):
        alike = first[*bounds, name]
        double[at] = any(shapely.equals(shapes[at], shapes[other]) for other in alike)
        if not double[at]:
            alike.append(at)
    return double


def _without_pixel(shapes: npt.NDArray[Any], image: Grid) -> npt.NDArray[np.bool_]:
    """Which polygons hold no pixel centre of the image, by the rule that `label_block` draws them with."""
    inner = shapely.point_on_surface(shapes)
    columns, rows = (np.floor(a) for a in ~image.affine * (shapely.get_x(inner), shapely.get_y(inner)))
    seen = (columns >= 0) & (rows >= 0) & (columns < image.shape[1]) & (rows < image.shape[0])
    seen &= shapely.contains_xy(shapes, *(image.affine * (columns + 0.5, rows + 0.5)))
    for at in np.flatnonzero(~seen):  # the few whose middle says nothing: exactly, in their own window
        seen[at] = _drawn(shapes[at], image)
    return ~seen


def _drawn(shape: Any, image: Grid) -> bool:
    corners = shapely.get_coordinates(shapely.envelope(shape))
    columns, rows = ~image.affine * (corners[:, 0], corners[:, 1])
    left, top = max(int(np.floor(columns.min())), 0), max(int(np.floor(rows.min())), 0)
    right = min(int(np.ceil(columns.max())) + 1, image.shape[1])
    bottom = min(int(np.ceil(rows.max())) + 1, image.shape[0])
    if left >= right or top >= bottom:
        return False
    window = image.affine * Affine.translation(left, top)
    return bool(rasterize([shape], out_shape=(bottom - top, right - left), transform=window, dtype="uint8").any())


def _overlaps(table: gpd.GeoDataFrame, pixel_m2: float) -> int:
    """Pairs of polygons of different classes that share a pixel's area or more; less is how borders are drawn."""
    if table["class"].nunique() < 2:
        return 0
    shapes, names = table.geometry.values, table["class"].to_numpy()
    one, other = table.sindex.query(shapes, predicate="intersects")
    pairs = (one < other) & (names[one] != names[other])
    one, other = one[pairs], other[pairs]
    return int((shapely.area(shapely.intersection(shapes[one], shapes[other])) >= pixel_m2).sum())


def _classes(table: gpd.GeoDataFrame, path: Path) -> tuple[npt.NDArray[Any], list[str]]:
    """The class name of every polygon, and a sentence on columns that look like classes and are not read."""
    fields = [str(name) for name in table.columns if name != "geometry"]
    columns = [name for name in fields if outlines.plain(name) == "class"]
    if len(columns) > 1:
        raise IngestError(f"{path} has the columns {' and '.join(map(repr, columns))}; keep the one with the classes.")
    if not columns:
        alike = [name for name in fields if outlines.looks_like_class(name) and len(set(table[name].astype(str))) > 1]
        told = [
            f"{path.name}: the column '{name}' is not used, because classes are read from a column 'class';"
            " all polygons are of one class."
            for name in alike
        ]
        return np.full(len(table), DEFAULT_CLASS, object), told
    column = table[columns[0]]
    column = column.astype("string").str.strip().replace("", pd.NA) if column.dtype.kind == "O" else column
    bare = int(column.isna().sum())
    if bare:
        raise IngestError(f"{path} has {bare} polygons without a class; fill the column '{columns[0]}', or remove it.")
    names = np.array([str(name) for name in column], dtype=object)
    many = len(set(names))
    spelt: dict[str, str] = {}
    for name in sorted(set(names)):
        if name.casefold() == BACKGROUND:
            raise IngestError(
                f"{path} has a class '{name}' in its column '{columns[0]}', which is what ground without landslides is called;"
                " call the class otherwise, or take its polygons away."
            )
        if (other := spelt.setdefault(name.casefold(), name)) != name:
            raise IngestError(
                f"{path} has the classes '{other}' and '{name}' in its column '{columns[0]}'; write both the same way."
            )
    if many >= UNKNOWN:
        raise IngestError(f"{path} has {many} classes in its column '{columns[0]}'; give fewer than {UNKNOWN}.")
    return names, []


def _ids(table: gpd.GeoDataFrame) -> npt.NDArray[np.int64]:
    """The inventory's own whole-number ids if they tell its polygons apart, else 1, 2, 3..."""
    if "id" in table and table["id"].dtype.kind in "iu" and table["id"].is_unique:
        return np.asarray(table["id"], dtype=np.int64)
    return np.arange(1, len(table) + 1)


def label_block(inventory: Inventory, grid: Grid, unknown: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Codes ``(row, column)`` of a block: class index from 1, 0 background, 255 outside the extent or ``unknown``.

    A pixel belongs to the polygon that holds its centre; of overlapping polygons the smallest counts. What a mapper answered about
    a place is known also outside the extent.
    """
    table = inventory.table
    hit = table.iloc[np.sort(table.sindex.query(grid.extent.geom))]
    hit = hit.sort_values("area_m2", ascending=False, kind="stable")
    drawn = np.zeros(grid.shape, np.uint8)
    if len(hit):
        codes = [inventory.classes.index(name) + 1 for name in hit["class"]]
        drawn = rasterize(zip(hit.geometry, codes, strict=True), out=drawn, transform=grid.affine)
    labels = drawn.copy()
    outside = np.zeros(grid.shape, bool)
    if inventory.extent is not None:
        outside = ~_covered([inventory.extent], grid)
        outside &= ~_covered(hit.geometry[hit["source"] == review.REVIEW], grid)
    labels[outside | (_covered(inventory.heeded.unknown, grid) & (drawn == 0))] = UNKNOWN
    labels[_covered(inventory.heeded.background, grid) & (drawn == 0)] = 0
    labels[unknown] = UNKNOWN
    return labels


def _covered(shapes: Iterable[Any], grid: Grid) -> npt.NDArray[np.bool_]:
    """The pixels whose centres lie in any of the shapes."""
    shapes = [shape for shape in shapes if shape.intersects(grid.extent.geom)]
    if not shapes:
        return np.zeros(grid.shape, bool)
    return rasterize(shapes, out_shape=tuple(grid.shape), transform=grid.affine, dtype="uint8") > 0


def survey_vectors(folder: Path, image: Grid, settings: IngestSettings) -> tuple[Inventory | None, list[str]]:
    """The inventory of an area, if it has one, and the sentences to tell."""
    files = vector_files.find(folder)
    inventory: Inventory | None = None
    findings: list[str] = []
    if files.inventory is not None:
        inventory, findings = _inventory(files.inventory, files, image, settings)
    else:
        suffixes = ", ".join(vector_files.READ_SUFFIXES[1:])
        findings.append(
            f"There is no inventory (landslides.gpkg, or {suffixes}); the area is mapped, but not trained on or scored."
        )
        if files.extent is not None:
            findings.append(f"{files.extent.name} is not used, because there is no inventory.")
        findings += [f"{path.name} is not used, because a review needs an inventory." for path in files.reviews]
    if files.unused:
        findings.append(
            f"{', '.join(files.unused)}: not used, because only landslides, labelled_extent and review are read."
        )
    return inventory, findings
