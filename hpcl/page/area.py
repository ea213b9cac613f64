"""One area as the page holds it: facts, rasters, outlines and candidates, as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np

from hpcl import sensors
from hpcl.core import artifacts
from hpcl.core.records import AreaFacts, MapFacts, OutlineFacts
from hpcl.geo import raster, vector
from hpcl.page import alike, candidates, outlines
from hpcl.page.pictures import Stretch, numbers

STEPS = 200
"""Of a probability, so that the threshold moves by half a per cent."""
UNCERTAINTY_STEPS = 40
"""Of an uncertainty, which is only looked at: fewer steps, a third of the bytes."""
LINE_PX = 0.25
"""How far an outline may be off, in pixels as the page shows them."""


@dataclass(frozen=True)
class Budget:
    """What one area may have of the page: pixels of a raster, candidates, pictures of candidates, corners of outlines."""

    raster_px: float
    rows: int
    pictures: int
    picture_px: int
    corners: int


@dataclass(frozen=True)
class Files:
    """Where the stages left an area called ``name``, and what it would like of the budget."""

    name: str
    data: Path

    @property
    def image(self) -> Path:
        """The image, on the grid of all other rasters."""
        return self.data / "ingest" / self.name / "image.tif"

    @property
    def review(self) -> Path:
        """What the audit asks; absent where there was none."""
        return self.data / "audit" / self.name / "review.gpkg"

    @property
    def inventory(self) -> Path:
        """Landslides that were there before the map; absent where nobody mapped any."""
        return self.data / "ingest" / self.name / "landslides.gpkg"

    @property
    def embedded(self) -> Path:
        """What `make embed` says of the landslides of the map; absent where it was not asked."""
        return self.data / "embed" / self.name / "landslides.gpkg"

    def size(self) -> tuple[int, int]:
        """Pixels of the image, and rows of the review."""
        with raster.Source(self.image) as source:
            height, width = source.grid.shape
            return height * width, sum(map(len, candidates.read(self.review, source.grid).values()))


def read(files: Files, budget: Budget) -> dict[str, Any]:
    """All that the page knows of an area."""
    name, data = files.name, files.data
    ingest = artifacts.read_json(data / "ingest" / name / "facts.json", AreaFacts)
    mapped = artifacts.read_json(data / "predict" / name / "facts.json", MapFacts)
    outlined = artifacts.read_json(data / "outline" / name / "facts.json", OutlineFacts)
    with (
        raster.Source(files.image) as image,
        raster.Source(data / "terrain" / name / "terrain.tif") as relief,
        raster.Source(data / "predict" / name / "probability.tif") as probability,
    ):
        grid = raster.common_grid({source.path: source.grid for source in (image, relief, probability)})
        height, width = grid.shape
        shrink = max(1.0, (height * width / budget.raster_px) ** 0.5)
        most = max(1, round(max(height, width) / shrink))
        bands = sensors.shown([band.name for band in image.bands], abs(grid.affine.a))
        seen = image.thumbnail(most, bands)
        stretch = Stretch.of(seen)
        inventory = vector.read(files.inventory) if files.inventory.exists() else None
        landslides = vector.read(data / "outline" / name / "landslides.gpkg")
        return {
            "name": name,
            "crs": _crs(grid),
            "crs_name": ingest.crs_name,
            "transform": list(grid.affine[:6]),
            "shape": [height, width],
            "bands": bands,
            "weights": mapped.weights_sha256,
            "operating_point": outlined.operating_point,
            "thresholds": {"elsewhere": outlined.thresholds.elsewhere, "by_fold": outlined.thresholds.by_fold},
            "rasters": {"image": stretch.picture(seen)} | _rasters(relief, probability, most),
            "outlines": _outlines(landslides, inventory, grid, shrink, budget),
            "alike": alike.read(files.embedded, landslides),
            **_review(files, candidates.Look(image, bands, stretch, budget.picture_px), inventory, budget),
        }


def _crs(grid: raster.Grid) -> str | None:
    """The CRS by its EPSG code, if it has one, as GDAL names it in GeoJSON."""
    code = None if grid.crs is None else grid.crs.proj.to_epsg(min_confidence=100)
    return None if code is None else f"urn:ogc:def:crs:EPSG::{code}"


def _rasters(relief: raster.Source, probability: raster.Source, most: int) -> dict[str, Any]:
    hillshade = relief.thumbnail(most, ["hillshade"])
    landslide, uncertainty = probability.thumbnail(most, ["probability", "uncertainty"])
    known = uncertainty[np.isfinite(uncertainty)]
    top = float(np.percentile(known, 99.5)) if known.size else 0.0
    top = float(f"{top:.2g}") or 1.0
    return {
        "hillshade": Stretch.of(hillshade).picture(hillshade),
        "probability": {"url": numbers(landslide, 1.0, STEPS), "steps": STEPS, "top": 1.0},
        "uncertainty": {"url": numbers(uncertainty, top, UNCERTAINTY_STEPS), "steps": UNCERTAINTY_STEPS, "top": top},
    }


def _outlines(
    mapped: gpd.GeoDataFrame, inventory: gpd.GeoDataFrame | None, grid: raster.Grid, shrink: float, budget: Budget
) -> Mapping[str, Any]:
    tables = {"mapped": mapped} | ({} if inventory is None else {"inventory": inventory})
    return {
        kind: outlines.rings(table, grid, LINE_PX * shrink, budget.corners // len(tables))
        for kind, table in tables.items()
    }


def _review(files: Files, look: candidates.Look, inventory: gpd.GeoDataFrame | None, budget: Budget) -> dict[str, Any]:
    """The candidates that the page lists, the first of them with pictures."""
    tables = candidates.read(files.review, look.image.grid)
    rows = []
    for number, (layer, row) in enumerate(candidates.first(tables, budget.rows)):
        found = candidates.properties(layer, row) | {"compared": candidates.compared(layer, row, inventory)}
        if number < budget.pictures:
            found["picture"] = look.picture(row.geometry)
        rows.append(found)
    return {"audited": bool(tables), "rows": rows, "left_out": sum(map(len, tables.values())) - len(rows)}
