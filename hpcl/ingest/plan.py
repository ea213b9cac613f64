"""The first half of ingest: read every raw file of an area once, refuse what is wrong, and plan what to write."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pyproj.exceptions import ProjError

from hpcl.geo.raster import Band, Grid, Roi
from hpcl.ingest.bands import BEFORE, further_bands, optical_bands
from hpcl.ingest.checks import check_values, count_blocks
from hpcl.ingest.grids import (
    covered_frac,
    crs_of,
    facing,
    is_north_up,
    name_of,
    north_up,
    offset_px,
    pixel_of,
    same_place,
    window_on,
    zoom_of,
)
from hpcl.ingest.headers import (
    DEM,
    OPTICAL,
    REFERENCE,
    area_folder,
    check_elevation,
    check_names,
    further_rasters,
    needed,
)
from hpcl.ingest.inventory import Inventory, survey_vectors
from hpcl.ingest.metric import image_grid
from hpcl.ingest.opening import check_size
from hpcl.ingest.operations import Operation, operation
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import IngestError, IngestSettings, Progress


@dataclass(frozen=True)
class Layer:
    """A raw file with its grid (CRS written as the image's where both mean the same), its target and its names."""

    path: Path
    grid: Grid
    target: Grid
    bands: tuple[Band, ...]
    way: Operation
    """From the file's own CRS to that of the target."""
    roll: tuple[int, int] | None = None
    """How the columns of a raster that goes round the globe are rolled (`Raw.roll`)."""
    move_m: tuple[float, float] = (0.0, 0.0)
    """East and north, by which the file is moved before it is laid on its target."""

    @cached_property
    def zoom(self) -> float:
        """See `zoom_of`: of the two whole grids, so that all blocks are resampled alike."""
        return zoom_of(self.grid, self.target, self.way)


@dataclass(frozen=True)
class Plan:
    """An area whose files were found good: what is to be written, on which grids, and what its owner should know."""

    area: str
    image: tuple[Layer, ...]
    """The optical file first; all on one grid."""
    elevations: dict[str, Layer]
    inventory: Inventory | None
    findings: tuple[str, ...]
    reprojected: tuple[str, ...]
    operations: dict[Operation, tuple[str, ...]]
    """What brings coordinates into the image's CRS, and those of which files."""

    @property
    def grid(self) -> Grid:
        """The image grid."""
        return self.image[0].target

    @property
    def before(self) -> Layer | None:
        """The image of an earlier date."""
        return next((layer for layer in self.image if layer.path.name == BEFORE), None)

    def common_grid(self, layer: Layer) -> Grid:
        """The image grid, made as coarse as one of the layers if that is coarser."""
        zoom = zoom_of(self.grid, layer.grid, layer.way)
        return self.grid if zoom == 1 else self.grid.zoom_out(1 / zoom)

    def moved(self, layer: Layer, move_m: tuple[float, float], findings: Sequence[str]) -> Plan:
        """The plan with one of the image's layers moved east and north, and what is to be said of that."""
        image = tuple(replace(of, move_m=move_m) if of == layer else of for of in self.image)
        names = dict.fromkeys((*self.reprojected, layer.path.name)) if any(move_m) else self.reprojected
        return replace(self, image=image, findings=(*self.findings, *findings), reprojected=tuple(names))


@dataclass(frozen=True)
class _Read:
    """What is needed of a raw file: a window of it, and within that the part that the image lies on."""

    raw: Raw
    window: Roi
    core: Roi
    elevation: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Of the window."""
        rows, columns = self.window
        return rows.stop - rows.start, columns.stop - columns.start


def _place(raw: Raw, image: Grid, optical: Path, grow_px: int) -> tuple[Layer, _Read]:
    """Where a raw file lies: its grid, in the image's CRS if both mean the same, and what of it is to be read.

    The layer's target and bands are not yet chosen.
    """
    try:
        way = operation(crs_of(raw.grid), crs_of(image), image)
        grid, roll = facing(raw.grid, image, way)
        if roll is not None:
            raw.roll(*roll)
        if same_place(grid, crs_of(image), way):
            grid = Grid(grid.shape, grid.affine, image.crs)
        core, window = window_on(image, grid, way), window_on(image, grid, way, grow_px)
    except ProjError as error:
        raise IngestError(
            f"{raw.path} is in {name_of(crs_of(raw.grid))}, which has no way to the image's CRS {name_of(crs_of(image))};"
            " check the CRS of both files."
        ) from error
    if core is None or window is None:
        raise _elsewhere(raw.path, optical)
    return Layer(raw.path, grid, image, (), way, roll), _Read(raw, window, core)


def _elsewhere(path: Path, optical: Path) -> IngestError:
    return IngestError(f"{path} does not overlap {optical}; check the CRS of both, or give files of the same ground.")


def _elevation_layer(dem: Raw, image: Grid, optical: Path, settings: IngestSettings) -> tuple[Layer, _Read, list[str]]:
    """Where a DEM goes: its own pixels if they lie north-up in the image's CRS, else such pixels of its resolution."""
    check_elevation(dem)
    layer, read = _place(dem, image, optical, settings.dem_margin_px + 3)
    grid, window = layer.grid, read.window
    findings = []
    if grid.crs == image.crs and is_north_up(grid):
        target = grid
    else:
        target = north_up(grid[window], crs_of(image), layer.way)
        what = "is on a rotated grid"
        if grid.crs != image.crs:
            what = "is geographic" if crs_of(grid).geographic else "has another CRS"
        where = f"{name_of(crs_of(image))} with pixels of {pixel_of(target):.4g} m"
        findings.append(f"{dem.path.name} {what} ({name_of(crs_of(grid))}) and was projected to {where}.")
    crop = window_on(image, target, layer.way, settings.dem_margin_px)
    if crop is None:
        raise _elsewhere(dem.path, optical)
    layer = replace(layer, target=target[crop], bands=(Band("elevation", "m"),))
    if (covered := covered_frac(layer.target, image, layer.way)) < 0.9995:
        findings.append(f"{dem.path.name} covers {covered:.1%} of the image; the rest has no terrain.")
    return layer, replace(read, elevation=True), findings


def examine(folder: Path, settings: IngestSettings, progress: Progress = lambda done, total: None) -> Plan:
    """Check the raw files of the area in ``folder``, each by itself and all together; writes nothing.

    Raises `IngestError` (or `VectorError` for a vector file that GDAL cannot read) with one sentence that names the
    file, what is wrong with it and what to do.
    """
    with ExitStack() as stack:
        plan, reads = _laid(folder, settings, stack)
        told = tuple(_check_all_values(reads, progress))
    return replace(plan, findings=(*plan.findings, *told, *_doubts(plan)))


def from_headers(folder: Path, settings: IngestSettings) -> Plan:
    """As `examine`, but by headers and outlines alone: no pixel is read (but for a few, of a band that may be a mask)."""
    with ExitStack() as stack:
        plan, _ = _laid(folder, settings, stack)
    return replace(plan, findings=(*plan.findings, *_doubts(plan)))


def _laid(folder: Path, settings: IngestSettings, stack: ExitStack) -> tuple[Plan, list[_Read]]:
    """Where each raw file goes and what of it is to be read; the files are opened on ``stack``."""
    area_folder(folder)
    optical_path, dem_path, reference_path = needed(folder, OPTICAL), needed(folder, DEM), folder / REFERENCE
    findings: list[str] = []
    reads: list[_Read] = []
    optical = stack.enter_context(Raw(optical_path))
    check_size(optical_path, optical.grid.shape)
    bands, told = optical_bands(optical, settings)
    image, moved = image_grid(optical, settings)
    check_size(optical_path, image.shape)
    findings += [*told, moved] if moved else told
    way = operation(crs_of(optical.grid), crs_of(image), image)
    grid, _ = facing(optical.grid, image, way)
    layers = [Layer(optical_path, grid, image, bands, way)]
    whole = slice(0, grid.shape[0]), slice(0, grid.shape[1])
    reads.append(_Read(optical, whole, whole))
    for path in further_rasters(folder):
        raw = stack.enter_context(Raw(path))
        bands, told = further_bands(raw, settings)
        layer, read = _place(raw, image, optical_path, 3)
        layers.append(replace(layer, bands=bands))
        findings += told
        if path.name == BEFORE and (covered := covered_frac(layer.grid, image, layer.way)) < 0.9995:
            findings.append(f"{path.name} covers {covered:.1%} of the image; on the rest nothing tells what is new.")
        reads.append(read)
    elevations = {}
    for path in (dem_path, reference_path):
        if os.path.lexists(path):
            raw = stack.enter_context(Raw(path, elevation=True))
            elevations[path.stem], read, told = _elevation_layer(raw, image, optical_path, settings)
            findings += told
            reads.append(read)
    check_names((layer.path, layer.bands) for layer in layers)
    inventory, told = survey_vectors(folder, image, settings)
    findings += told
    for read in reads:
        check_size(read.raw.path, read.shape)
    for layer in elevations.values():
        check_size(layer.path, layer.target.shape)
    resampled = [a.path.name for a in (*layers, *elevations.values()) if offset_px(a.grid, a.target) is None]
    operations = _operations(image, [*layers, *elevations.values()], inventory)
    plan = Plan(folder.name, tuple(layers), elevations, inventory, tuple(findings), tuple(resampled), operations)
    return plan, reads


def _doubts(plan: Plan) -> Iterator[str]:
    """Findings about the operations that bring files into the image's CRS."""
    for way, files in plan.operations.items():
        if doubt := way.doubt(pixel_of(plan.grid)):
            yield f"{', '.join(files)}: {doubt}"


def _check_all_values(reads: Sequence[_Read], progress: Progress) -> Iterator[str]:
    """Read all that is needed of the raw files; findings about their numbers."""
    total = sum(count_blocks([span.stop - span.start for span in read.window]) for read in reads)
    done = iter(range(1, total + 1))
    for read in reads:
        yield from check_values(read.raw, read.window, read.core, read.elevation, lambda: progress(next(done), total))


def _operations(image: Grid, layers: Sequence[Layer], inventory: Inventory | None) -> dict[Operation, tuple[str, ...]]:
    """The operations that an area needs, and the files whose coordinates each of them changes."""
    ways = [(layer.way, layer.path.name) for layer in layers]
    if inventory is not None:
        ways += [(operation(crs, crs_of(image), image), name) for name, crs in inventory.drawn_in.items()]
    out: dict[Operation, tuple[str, ...]] = {}
    for way, name in ways:
        if way.source != way.target:
            out[way] = (*out.get(way, ()), name)
    return out
