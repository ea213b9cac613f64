"""Rasters: the only GeoTIFF reader, and the grid on which files must agree.

A raster is a float32 array ``(band, row, column)`` whose nodata is NaN, on a `Grid` (an odc-geo GeoBox: shape, affine
transform and CRS), with a name and a unit for every band. Codes (labels) stay uint8 with a declared nodata code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox as Grid
from odc.geo.types import Shape2d
from rasterio.enums import Resampling
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from hpcl.core import freed_memory
from hpcl.core.artifacts import remedy

__all__ = [
    "Band",
    "Grid",
    "Raster",
    "RasterError",
    "Roi",
    "Shape",
    "Source",
    "common_grid",
    "read",
]

Roi = tuple[slice, slice]
"""Rows and columns of a grid, in pixels."""

Shape = tuple[int, int] | Shape2d
"""Rows and columns, as numpy or as a grid gives them."""

CACHE_MIB = 512
"""Blocks that GDAL keeps of all files together; by default it takes a twentieth of the machine's memory."""
# In the environment, where GDAL looks when it reads its first block: rasterio.Env would take the bound back on leaving.
os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_MIB))


freed_memory.keep()


class RasterError(ValueError):
    """A raster file that cannot be read or written; the message names file, finding and remedy."""


@dataclass(frozen=True)
class Band:
    """What one layer of a raster means: its ``name`` and its ``unit`` (empty for a pure number)."""

    name: str
    unit: str = ""


@dataclass(frozen=True)
class Raster:
    """A whole raster in memory: ``values`` float32 ``(band, row, column)``, NaN where there is no data."""

    values: npt.NDArray[Any]
    grid: Grid
    bands: tuple[Band, ...]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The layer called ``name``, ``(row, column)``."""
        return self.values[_index(self.bands, name, "this raster")]


SAME_PX = 0.01
"""Corners as far apart as this part of a pixel are the same: facts in JSON keep 12 digits of a transform."""


def common_grid(grids: Mapping[Path, Grid]) -> Grid:
    """The one grid of files that are laid on each other pixel by pixel.

    Raises `RasterError`, which names both files and their grids, where shape, place or CRS differ: pixels of different
    ground would make a map that looks like any other.
    """
    (first, grid), *others = grids.items()
    for path, other in others:
        if not _same(grid, other):
            raise RasterError(
                f"{first} ({_described(grid)}) and {path} ({_described(other)}) do not lie on one grid: one of them was cropped,"
                f" replaced, or made before the other was made again. For {first}: {remedy(first)}. For {path}: {remedy(path)}."
            )
    return grid


def _same(one: Grid, other: Grid) -> bool:
    if one.shape != other.shape or one.crs != other.crs:
        return False
    height, width = one.shape
    return all(
        abs(away) < SAME_PX
        for corner in ((0, 0), (width, 0), (0, height), (width, height))
        for away in np.subtract(~one.affine * (other.affine * corner), corner)
    )


def _described(grid: Grid) -> str:
    (rows, columns), affine = grid.shape, grid.affine
    name = "no CRS" if grid.crs is None else grid.crs.proj.name
    return f"{rows} x {columns} pixels of {abs(affine.a):.6g} from {affine.c:.12g}, {affine.f:.12g} in {name}"


def _index(bands: Sequence[Band], name: str, where: str) -> int:
    names = [band.name for band in bands]
    if name not in names:
        raise RasterError(f"{where} has no band '{name}'; it has {', '.join(names)}.")
    return names.index(name)


class Source:
    """A raster file open for reading by windows. Use as a context manager.

    Threads may share one: they read in turn, and what one has decompressed the others find in GDAL's cache. Sent to
    another process, it opens the file again there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = Lock()
        try:
            self._file = rasterio.open(path)
        except RasterioIOError as error:
            found = "is not a raster GDAL can read" if path.exists() else "does not exist"
            raise RasterError(f"{path} {found}; {remedy(path)}.") from error
        self.grid: Grid = Grid.from_rio(self._file)
        self.bands = tuple(
            Band(name or f"band_{i + 1}", unit or "")
            for i, (name, unit) in enumerate(zip(self._file.descriptions, self._file.units, strict=True))
        )
        self.dtype = np.dtype(self._file.dtypes[0])

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __reduce__(self) -> tuple[type[Source], tuple[Path]]:
        return Source, (self.path,)

    def read(self, roi: Roi | None = None, bands: Sequence[str] | None = None, halo_px: int = 0) -> npt.NDArray[Any]:
        """Layers ``(band, row, column)`` of a window grown by ``halo_px``; NaN (or the nodata code) beyond the edge.

        Raises `RasterError` for a file that is cut short and for a band it does not have.
        """
        height, width = self.grid.shape
        rows, columns = roi or (slice(0, height), slice(0, width))
        top, bottom = rows.start - halo_px, rows.stop + halo_px
        left, right = columns.start - halo_px, columns.stop + halo_px
        inside = Window.from_slices((max(top, 0), min(bottom, height)), (max(left, 0), min(right, width)))
        wanted = [_index(self.bands, name, str(self.path)) + 1 for name in bands] if bands is not None else None
        try:
            with self._turn:
                values = self._file.read(wanted, window=inside)
        except RasterioError as error:
            raise RasterError(f"{self.path} breaks off while it is read (truncated?); {remedy(self.path)}.") from error
        values, fill = self._numbers(values)
        margin = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
        if any(map(any, margin)):
            values = np.pad(values, ((0, 0), *margin), constant_values=fill)
        return values

    def thumbnail(self, max_px: int, bands: Sequence[str] | None = None, roi: Roi | None = None) -> npt.NDArray[Any]:
        """Layers ``(band, row, column)`` of a window, by default the whole grid, shrunk to at most ``max_px`` a side, never
        enlarged.

        Numbers are averaged over what is no nodata, codes are taken from the nearest pixel. Overviews are used where
        the file has them, so memory and time do not grow with the scene.
        """
        rows, columns = roi or tuple(slice(0, side) for side in self.grid.shape)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        shrink = max(1.0, max(height, width) / max_px)
        shape = max(1, round(height / shrink)), max(1, round(width / shrink))
        inside = Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop))
        wanted = [_index(self.bands, name, str(self.path)) + 1 for name in bands] if bands is not None else None
        how = Resampling.nearest if self.dtype.itemsize == 1 else Resampling.average
        try:
            with self._turn:
                out_shape = len(wanted or self.bands), *shape
                values = self._file.read(wanted, window=inside, out_shape=out_shape, resampling=how)
        except RasterioError as error:
            raise RasterError(f"{self.path} breaks off while it is read (truncated?); {remedy(self.path)}.") from error
        return self._numbers(values)[0]

    def _numbers(self, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float]:
        """Values as this project holds them, and what stands for nodata there: float32 with NaN, or codes as they are."""
        nodata = self._file.nodata
        if self.dtype.kind != "f" and self.dtype.itemsize == 1:
            return values, 0 if nodata is None else nodata
        values = values.astype(np.float32, copy=False)
        if nodata is not None and not np.isnan(nodata):
            values[values == np.float32(nodata)] = np.nan
        return values, np.nan


def read(path: Path, bands: Sequence[str] | None = None) -> Raster:
    """A whole raster file, or the named ``bands`` of it, in memory."""
    with Source(path) as source:
        chosen = (
            source.bands if bands is None else tuple(source.bands[_index(source.bands, b, str(path))] for b in bands)
        )
        return Raster(source.read(bands=bands), source.grid, chosen)
