"""What the raw files of one area say: headers, outlines, and nothing that takes minutes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyproj
import shapely
from affine import Affine

from hpcl import scale
from hpcl.first_look.polygons import Polygons, pixel_counts
from hpcl.geo.raster import Grid
from hpcl.ingest import IngestSettings
from hpcl.ingest.bands import like, optical_bands, own_names
from hpcl.ingest.grids import covered_frac, crs_of, name_of, pixel_of
from hpcl.ingest.headers import OPTICAL, area_folder, needed
from hpcl.ingest.inventory import Inventory, label_block
from hpcl.ingest.plan import Layer, Plan, from_headers
from hpcl.ingest.raw import Raw
from hpcl.tiles import folds

DRAWN_PX = 16_000_000
"""Labels of larger areas are drawn with coarser pixels: what is asked of them is how folds share the landslides."""


@dataclass(frozen=True)
class Elevations:
    """A DEM beside the image: its pixel [m], the share of the image that it covers, and what its heights count from."""

    pixel_m: float
    covered_frac: float
    heights: str


@dataclass(frozen=True)
class Ground:
    """One area at first sight."""

    area: str
    grid: Grid
    optical: tuple[str, ...]
    """The bands of optical.tif, as they are called or, where nobody named them, could be."""
    named: bool
    """Whether the file or the settings name its bands, so that none is a mere number."""
    further: tuple[str, ...]
    dem: Elevations
    polygons: Polygons | None
    findings: tuple[str, ...]
    inventory: Inventory | None

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands that the area's image will have."""
        return self.optical + self.further

    @property
    def pixel_m(self) -> float:
        """Side of an image pixel."""
        return pixel_of(self.grid)

    @property
    def crs(self) -> str:
        """The CRS in words, and its datum."""
        crs = crs_of(self.grid)
        datum = str(crs.proj.datum.name).removesuffix(" ensemble") if crs.proj.datum else "unknown datum"
        return f"{name_of(crs)}, datum {datum}"

    def sizes(self) -> scale.Sizes:
        """What parameters meet here."""
        rows, columns = self.grid.shape
        areas = tuple(self.polygons.areas_m2.tolist()) if self.polygons else ()
        return scale.Sizes((rows, columns), self.pixel_m, self.dem.pixel_m, areas)


def look(folder: Path, settings: IngestSettings, others: Sequence[str] = ()) -> Ground:
    """Look at the raw area in ``folder``; ``others`` are names of areas that may have been meant.

    Raises `IngestError` or `VectorError`, as `ingest` does, for files that are missing, broken or contradict each other.
    """
    area_folder(folder, others)
    with Raw(needed(folder, OPTICAL)) as raw:
        names, named = _names(raw, settings)
        names = tuple(band.name for band in optical_bands(raw, replace(settings, optical_bands=names))[0])
    plan = from_headers(folder, replace(settings, optical_bands=names))
    return Ground(
        area=folder.name,
        grid=plan.grid,
        optical=names,
        named=named,
        further=tuple(band.name for layer in plan.image[1:] for band in layer.bands),
        dem=_elevations(plan, plan.elevations["dem"]),
        polygons=None if plan.inventory is None else _polygons(plan.inventory, plan.grid),
        findings=plan.findings,
        inventory=plan.inventory,
    )


def _names(raw: Raw, settings: IngestSettings) -> tuple[tuple[str, ...], bool]:
    """What to expect of the image's bands: their own names, those of the settings if they are as many, or mere numbers."""
    own = tuple(like(name, settings.optical_bands) for name in own_names(raw))
    if all(own) and len(set(own)) == len(own):
        return own, True
    if len(own) == len(settings.optical_bands):
        return settings.optical_bands, True
    return tuple(name or f"band_{number}" for number, name in enumerate(own, 1)), False


def _elevations(plan: Plan, dem: Layer) -> Elevations:
    with Raw(dem.path, elevation=True) as raw:
        heights = _heights(raw.crs)
    return Elevations(pixel_of(dem.target), covered_frac(dem.target, plan.grid, dem.way), heights)


def _heights(crs: pyproj.CRS) -> str:
    """What heights count from, as far as the CRS says."""
    vertical = [part.name for part in crs.sub_crs_list if part.is_vertical]
    if vertical:
        return f"heights above {vertical[0]}"
    return "heights above the ellipsoid" if len(crs.axis_info) == 3 else "what its heights count from is not said"


def _polygons(inventory: Inventory, grid: Grid) -> Polygons:
    shapes, areas_m2 = inventory.table.geometry.values, inventory.table["area_m2"].to_numpy()

    in_pixels = shapely.transform(shapes, lambda x, y: ~grid.affine * (x, y), interleaved=False)
    return Polygons(
        given=len(areas_m2) + inventory.facts.outside,
        areas_m2=areas_m2,
        pixels=pixel_counts(np.asarray(in_pixels), (grid.shape[0], grid.shape[1])),
        share_frac=float(areas_m2.sum() / (np.prod(grid.shape) * pixel_of(grid) ** 2)),
    )


def laid_blocks(ground: Ground, block_px: int) -> list[folds.Block]:
    """The blocks that `tile` will cut the area into, exact up to `DRAWN_PX` pixels and nearly so beyond; nodata is not known."""
    if ground.inventory is None:
        return []
    step = math.ceil(math.sqrt(np.prod(ground.grid.shape) / DRAWN_PX))
    rows, columns = (math.ceil(size / step) for size in ground.grid.shape)
    coarse = Grid((rows, columns), ground.grid.affine * Affine.scale(step), ground.grid.crs)
    labels = label_block(ground.inventory, coarse, np.zeros((rows, columns), bool))
    return folds.lay_blocks(ground.area, labels, block_px / step)
