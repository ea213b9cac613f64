"""A believed shift is undone, once, and what is left beside a reference is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from rasterio.enums import Resampling
from rasterio.warp import transform

from hpcl.coregister import shading
from hpcl.coregister.sampling import (
    away_from_km,
    common_resolution,
    elevation_on,
    middle_of,
    pixel_size_m,
    projected,
    read_on,
)
from hpcl.coregister.shift import Array, Point, Shift
from hpcl.geo import blocks, cog, raster

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """No progress is shown."""


def apply(dem: Path, image: Path, shift: Shift, out: Path, progress: Progress = _silent) -> None:
    """Write the DEM, moved and lifted as far as `Shift` is believed, on the grid of the image: its only resampling."""
    with raster.Source(image) as source:
        grid = source.grid
    with raster.Source(dem) as ground:
        middle = middle_of(ground.grid, grid.crs)

        def compute(roi: raster.Roi) -> Array:
            return elevation_on(ground, grid[roi], shift.move_m) + shift.lift_m(away_from_km(grid, middle, roi))

        with cog.create(out, grid, [raster.Band("elevation", "m")]) as sink:
            _fill(sink, compute, progress)


def residuals(dem: Path, other: Path, shift: Shift, out: Path, *, moved: bool) -> None:
    """Write what the DEM and the ``other`` raster disagree about, before or after the DEM was ``moved``.

    Against a reference DEM: DEM minus reference, in metres. Against the image: brightness minus shading, both in the
    band of forms that `shading` looks at, in standard deviations of the brightness. The grid is the DEM's, or as coarse as
    the image if that is coarser.
    """
    move_m = shift.move_m if moved else (0.0, 0.0)
    with raster.Source(dem) as ground, raster.Source(other) as still:
        if shift.light is None:
            band, grid = raster.Band("dem_minus_reference", "m"), projected(ground.grid)
            middle = middle_of(ground.grid, grid.crs)

            def compute(roi: raster.Roi) -> Array:
                z = elevation_on(ground, grid[roi], move_m)
                return (z + shift.lift_m(away_from_km(grid, middle, roi)) if moved else z) - elevation_on(
                    still, grid[roi]
                )
        else:
            band, grid = raster.Band("brightness_minus_shading"), common_resolution(ground.grid, still.grid)
            light = shift.light
            # A shift that was not applied leaves the light as it was.
            coefficients = light.after if moved and shift.accepted and light.after else light.before

            def compute(roi: raster.Roi) -> Array:
                around = grid[roi].pad(shading.RIM_PX)
                normal, known = shading.relief(elevation_on(ground, around, move_m), pixel_size_m(grid))
                bright, lit = shading.brightness(read_on(still, around, Resampling.bilinear, [light.band])[0])
                rest = (bright - np.tensordot(coefficients, normal, 1)) / light.spread
                return np.where(known & lit, rest, np.nan)

        with cog.create(out, grid, [band]) as sink:
            _fill(sink, compute)


def _fill(sink: cog.Sink, compute: Callable[[raster.Roi], Array], progress: Progress = _silent) -> None:
    """Write what ``compute`` gives for every block."""
    rois = list(blocks.walk(sink.grid.shape))
    for done, roi in enumerate(rois):
        sink.write(compute(roi)[None], roi)
        progress(done + 1, len(rois))


def in_pixels(dem: Path, shift: Shift) -> Point:
    """Columns (to the right) and rows (down) of the DEM's own grid by which it must be moved, whatever its CRS."""
    with raster.Source(dem) as source:
        grid = source.grid
    metric = projected(grid)
    x, y = metric.affine * (metric.shape[1] / 2, metric.shape[0] / 2)
    xs, ys = [x, x + shift.east_m], [y, y + shift.north_m]
    if metric.crs != grid.crs:
        xs, ys = transform(str(metric.crs), str(grid.crs), xs, ys)
    columns, rows = ~grid.affine * (np.array(xs), np.array(ys))
    return float(np.diff(columns)[0]), float(np.diff(rows)[0])
