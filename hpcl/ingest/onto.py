"""A raw file on another grid, window by window."""

from __future__ import annotations

import math

import numpy as np
from rasterio.enums import Resampling

from hpcl.geo.raster import Grid
from hpcl.geo.resample import resample
from hpcl.ingest.grids import crs_of, offset_px, window_on
from hpcl.ingest.operations import Operation, operation
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import Floats

MOST_PX = 16 * 1024 * 1024
"""Largest source window warped at once, in pixels and bands (64 MiB as float32)."""


def read_onto(
    raw: Raw, grid: Grid, target: Grid, resampling: Resampling, zoom: float, way: Operation | None = None
) -> Floats:
    """The layers of a raw file on (a block of) another grid, NaN where it has no data.

    ``grid`` is the file's grid, with its CRS written as the target's where both mean the same; ``zoom`` is `zoom_of` of
    the two whole grids and ``way`` (else the best for ``target``) the operation between their CRSs on the whole area, so
    that all blocks are resampled alike. Pixels are copied where the grids share them. Else GDAL's kernel weighs the valid
    pixels alone, each layer by itself, so nodata neither bleeds into its surroundings nor grows. Memory stays below a few
    times ``MOST_PX`` however fine the source is.
    """
    height, width = target.shape
    offset = offset_px(grid, target)
    if offset is not None:
        return raw.read((slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width)))
    way = way or operation(crs_of(grid), crs_of(target), target)
    window = window_on(
        target.pad(2), grid, way, grow_px=3
    )  # the kernel: 2 px of the coarser of the two grids, and a spare
    if window is None:
        return np.full((len(raw.bands), height, width), np.nan, np.float32)
    size = len(raw.bands) * math.prod(s.stop - s.start for s in window)
    if size > MOST_PX and max(height, width) > 1:
        axis = 0 if height >= width else 1
        half = target.shape[axis] // 2
        parts = (target[:half], target[half:]) if axis == 0 else (target[:, :half], target[:, half:])
        return np.concatenate([read_onto(raw, grid, part, resampling, zoom, way) for part in parts], axis=1 + axis)
    return resample(
        raw.read(window), grid[window], target, resampling, zoom, way.pipeline if grid.crs != target.crs else None
    )
