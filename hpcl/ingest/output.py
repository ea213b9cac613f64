"""The second half of ingest: write what was found good, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.enums import Resampling

from hpcl.core.codes import UNKNOWN
from hpcl.core.records import AreaFacts, BandName, InventoryFacts, OperationFacts, ValidShares
from hpcl.geo import blocks, cog, vector
from hpcl.geo.raster import Band
from hpcl.ingest import review_files
from hpcl.ingest.bands import flat_bands
from hpcl.ingest.checks import count_blocks
from hpcl.ingest.grids import crs_of, name_of, pixel_of
from hpcl.ingest.inventory import Inventory, label_block
from hpcl.ingest.metric import stretch_frac
from hpcl.ingest.onto import read_onto
from hpcl.ingest.plan import Layer, Plan
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import Progress


def write(plan: Plan, out: Path, progress: Progress = lambda done, total: None) -> AreaFacts:
    """Write what `examine` planned into the folder ``out``; returns the facts of the area.

    image.tif, dem.tif and, if there is one, reference_dem.tif; with an inventory also landslides.gpkg and labels.tif,
    and with answers of a mapper review.gpkg.
    """
    targets = [plan.grid, *(layer.target for layer in plan.elevations.values())]
    total = sum(count_blocks(grid.shape) for grid in targets)
    done = iter(range(1, total + 1))

    def tick() -> None:
        progress(next(done), total)

    counts, findings = _write_image(plan, out, tick)
    pixels = math.prod(plan.grid.shape)
    elevated = {name: _write_elevation(layer, out / f"{name}.tif", tick) for name, layer in plan.elevations.items()}
    if plan.inventory is not None:
        vector.write(out / "landslides.gpkg", plan.inventory.table)
        if (rows := plan.inventory.heeded.rows) is not None:
            vector.write_layers(out / "review.gpkg", review_files.layers(rows, {"applied": bool}))
    return AreaFacts(
        area=plan.area,
        crs=crs_of(plan.grid).proj.to_wkt(),
        crs_name=name_of(crs_of(plan.grid)),
        pixel_m=pixel_of(plan.grid),
        stretch_frac=stretch_frac(plan.grid),
        dem_pixel_m=pixel_of(plan.elevations["dem"].target),
        shape=list(plan.grid.shape),
        transform=list(plan.grid.affine)[:6],
        bands=[BandName(band.name, band.unit) for layer in plan.image for band in layer.bands],
        valid_frac=ValidShares(image=counts.seen / pixels, **elevated),
        classes=list(plan.inventory.classes) if plan.inventory else [],
        inventory=_labelled(plan.inventory, counts, pixels) if plan.inventory else None,
        findings=[*plan.findings, *findings],
        reprojected=list(plan.reprojected),
        operations=[
            OperationFacts(
                from_=name_of(way.source),
                to=name_of(way.target),
                name=way.name,
                accuracy_m=way.accuracy_m,
                files=list(files),
            )
            for way, files in plan.operations.items()
        ],
    )


@dataclass
class Counts:
    """Pixels that have an image, and pixels with each kind of label."""

    seen: int = 0
    background: int = 0
    landslide: int = 0


def _labelled(inventory: Inventory, counts: Counts, pixels: int) -> InventoryFacts:
    known = counts.background + counts.landslide
    return replace(
        inventory.facts,
        unknown_frac=1 - known / pixels,
        landslide_frac=counts.landslide / known if known else 0.0,
    )


def _write_image(plan: Plan, out: Path, tick: Callable[[], None]) -> tuple[Counts, list[str]]:
    """image.tif and, with an inventory, labels.tif.

    Returns how many pixels have an image and each kind of label, and findings about bands that say nothing.
    """
    counts = Counts()
    bands = [band for layer in plan.image for band in layer.bands]
    optical = len(plan.image[0].bands)
    low, high = (np.full(len(bands), np.nan, np.float32) for _ in range(2))
    with ExitStack() as stack:
        raws = [stack.enter_context(Raw(layer.path, roll=layer.roll)) for layer in plan.image]
        image = stack.enter_context(cog.create(out / "image.tif", plan.grid, bands))
        labels = None
        if plan.inventory is not None:
            label_file = cog.create(out / "labels.tif", plan.grid, [Band("label")], "uint8", UNKNOWN)
            labels = stack.enter_context(label_file)
        for roi in blocks.walk(plan.grid.shape):
            block = plan.grid[roi]
            parts = zip(raws, plan.image, strict=True)
            values = np.concatenate([read_onto(raw, layer, block, Resampling.bilinear) for raw, layer in parts])
            image.write(values, roi)
            low = np.fmin(low, np.fmin.reduce(values, axis=(1, 2)))
            high = np.fmax(high, np.fmax.reduce(values, axis=(1, 2)))
            blind = np.isnan(values[:optical]).all(axis=0)
            counts.seen += int((~blind).sum())
            if labels is not None and plan.inventory is not None:
                codes = label_block(plan.inventory, block, blind)
                counts.background += int((codes == 0).sum())
                counts.landslide += int(((codes > 0) & (codes < UNKNOWN)).sum())
                labels.write(codes[None], roi)
            tick()
    return counts, flat_bands(plan.image, low, high)


def _write_elevation(layer: Layer, path: Path, tick: Callable[[], None]) -> float:
    """A DEM on its target grid; returns the share of pixels with an elevation."""
    valid = 0
    with Raw(layer.path, True, layer.roll) as raw, cog.create(path, layer.target, layer.bands) as sink:
        for roi in blocks.walk(layer.target.shape):
            # Cubic, because the next stages differentiate it: half a pixel off, bilinear takes 13 % from a form six pixels
            # long, cubic 3 %.
            values = read_onto(raw, layer, layer.target[roi], Resampling.cubic)
            valid += int(np.isfinite(values).sum())
            sink.write(values, roi)
            tick()
    return valid / math.prod(layer.target.shape)
