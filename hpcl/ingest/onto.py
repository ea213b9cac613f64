"""A raw file on another grid, window by window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
from affine import Affine
from rasterio.enums import Resampling

from hpcl.geo.raster import Grid
from hpcl.geo.resample import Warp, in_halves, resample
from hpcl.ingest.grids import offset_px, window_on
from hpcl.ingest.plan import Layer
from hpcl.ingest.raw import Raw
from hpcl.ingest.settings import Floats

MOST_PX = 16 * 1024 * 1024
"""Largest source window warped at once, in pixels and bands (64 MiB as float32)."""


def read_onto(raw: Raw, layer: Layer, target: Grid, how: Resampling) -> Floats:
    """A layer of a raw file on (a block of) its target grid, NaN where it has no data.

    Pixels are copied where the grids share them. Else GDAL's kernel weighs the valid pixels alone, each band by itself, so
    nodata neither bleeds into its surroundings nor grows. Memory stays below a few times ``MOST_PX`` however fine the
    source is.
    """
    east_m, north_m = layer.move_m
    return _read(raw, layer, Grid(target.shape, Affine.translation(-east_m, -north_m) * target.affine, target.crs), how)


@contextmanager
def opened(layer: Layer, grid: Grid) -> Iterator[Callable[[Grid], Floats]]:
    """The file of a layer, to be asked for its values on ``grid`` or on parts and surroundings of it."""
    with Raw(layer.path, roll=layer.roll) as raw:
        yield partial(read_onto, raw, replace(layer, target=grid), how=Resampling.bilinear)


def _read(raw: Raw, layer: Layer, target: Grid, how: Resampling) -> Floats:
    grid, (height, width) = layer.grid, target.shape
    offset = offset_px(grid, target)
    if offset is not None:
        return raw.read((slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width)))
    # The kernel: 2 px of the coarser of the two grids, and a spare.
    window = window_on(target.pad(2), grid, layer.way, grow_px=3)
    if window is None:
        return np.full((len(raw.bands), height, width), np.nan, np.float32)
    size = len(raw.bands) * math.prod(s.stop - s.start for s in window)
    if size > MOST_PX and max(height, width) > 1:
        return in_halves(target, lambda part: _read(raw, layer, part, how))
    warp = Warp(how, layer.zoom, layer.way.pipeline if grid.crs != target.crs else None)
    return resample(raw.read(window), grid[window], target, warp)
