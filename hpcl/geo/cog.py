"""Writing rasters: cloud-optimised GeoTIFFs, made beside and moved, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from affine import Affine
from odc.geo.geobox import GeoBox as Grid
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpcl.geo.raster import Band, Raster, RasterError, Roi

TILE_PX = 512
"""Side of the tiles in a file."""

COPY_CACHE_MIB = 128
"""The same while a finished file is copied, which reads every block once: with more of them, in a heap that other work left
in pieces, memory would grow by a quarter with the first copy."""


class Sink:
    """A raster file being written by windows, and its overviews with it; made by `create`."""

    def __init__(self, file: Any, grid: Grid, coarser: Sink | None = None) -> None:
        self._file = file
        self.grid = grid
        self._coarser = coarser

    def write(self, values: npt.NDArray[Any], roi: Roi | None = None) -> None:
        """Write layers ``(band, row, column)`` at a window (default: the whole grid)."""
        (height, width), dtype = self.grid.shape, self._file.dtypes[0]
        rows, columns = roi or (slice(0, height), slice(0, width))
        values = values.astype(dtype, copy=False)
        self._file.write(values, window=Window.from_slices((rows.start, rows.stop), (columns.start, columns.stop)))
        if self._coarser is not None:
            top, bottom, left, right = rows.start // 2, -(-rows.stop // 2), columns.start // 2, -(-columns.stop // 2)
            around = Window.from_slices((2 * top, min(2 * bottom, height)), (2 * left, min(2 * right, width)))
            if (around.height, around.width) != values.shape[1:]:  # some quads were begun by other windows
                values = self._file.read(window=around)
            self._coarser.write(halve(values, self._file.nodata), (slice(top, bottom), slice(left, right)))


def halve(values: npt.NDArray[Any], nodata: float) -> npt.NDArray[Any]:
    """Layers ``(band, row, column)`` at half the resolution, as GDAL halves them: each 2 x 2 pixels become the mean of
    those that are no nodata or, if they are codes, the first. At an odd edge there are fewer.

    >>> halve(np.array([[[1, 2, np.nan], [3, np.nan, np.nan], [4, 6, np.nan]]]), np.nan)
    array([[[ 2., nan],
            [ 5., nan]]])
    """
    if values.dtype.kind != "f":
        return values[:, ::2, ::2]
    odd = [(0, side % 2) for side in values.shape[1:]]
    values = np.where(values == nodata, np.nan, values) if not np.isnan(nodata) else values
    values = np.pad(values, ((0, 0), *odd), constant_values=np.nan) if any(map(any, odd)) else values
    pairs = np.add(values[:, ::2], values[:, 1::2], dtype=np.float64)
    mean = ((pairs[..., ::2] + pairs[..., 1::2]) / 4).astype(values.dtype)
    gaps = np.isnan(mean)
    if gaps.any():
        quads = np.stack([values[:, y::2, x::2][gaps] for y in (0, 1) for x in (0, 1)])
        known = ~np.isnan(quads)
        total, count = quads.sum(axis=0, where=known, dtype=np.float64), known.sum(axis=0)
        mean[gaps] = np.where(count, total / np.maximum(count, 1), nodata)
    return mean


@contextmanager
def create(
    path: Path,
    grid: Grid,
    bands: Sequence[Band],
    dtype: str = "float32",
    nodata: float = np.nan,
    compression: Literal["deflate", "zstd"] = "deflate",
) -> Iterator[Sink]:
    """Write a Cloud-Optimised GeoTIFF by windows; it appears under ``path`` complete or not at all.

    The layers are collected in a tiled GeoTIFF and copied once to the COG layout (tiles of 512, overviews, compressed),
    because only that road keeps band names and units. Their overviews are collected beside it, each as the ``.ovr`` of
    the finer one: the copy takes those, and need not make its own in a further pass.
    """
    drafts = path.with_name(f".{path.name}.draft")
    draft, final = drafts / "draft.tif", drafts / "cog.tif"
    floating = np.dtype(dtype).kind == "f"
    shutil.rmtree(drafts, ignore_errors=True)  # what a killed run left
    try:
        drafts.mkdir(parents=True)
        with ExitStack() as files:
            sink: Sink | None = None
            for level, part in reversed(list(enumerate(_levels(grid)))):
                file = files.enter_context(_opened(f"{draft}{'.ovr' * level}", part, bands, dtype, nodata))
                sink = Sink(file, part, sink)
            assert sink is not None  # there is one level at least
            yield sink
        for drafted in drafts.iterdir():
            _check_whole(drafted)
        with _small_cache():
            rasterio.shutil.copy(
                draft, final, driver="COG", blocksize=TILE_PX, compress=compression,
                predictor="floating_point" if floating else "standard", level=1, num_threads="all_cpus", bigtiff="if_safer",
            )  # fmt: skip
        _check_whole(final)
        final.replace(path)
    except (RasterioError, OSError) as error:
        raise RasterError(
            f"{path} could not be written ({error}); is the disk full, or the folder read-only?"
        ) from error
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


@contextmanager
def _small_cache() -> Iterator[None]:
    """GDAL's cache at `COPY_CACHE_MIB` or less. Not by rasterio.Env, which leaves the bound behind where another is open."""
    before = get_gdal_config("GDAL_CACHEMAX")
    set_gdal_config("GDAL_CACHEMAX", min(before, COPY_CACHE_MIB * 2**20))
    try:
        yield
    finally:
        set_gdal_config("GDAL_CACHEMAX", before)


def _levels(grid: Grid) -> Iterator[Grid]:
    """The grid, and those of its overviews, each half as fine, until one tile holds all."""
    yield grid
    while max(grid.shape) > TILE_PX:
        height, width = grid.shape
        grid = Grid((-(-height // 2), -(-width // 2)), grid.affine * Affine.scale(2), grid.crs)
        yield grid


def _opened(path: str, grid: Grid, bands: Sequence[Band], dtype: str, nodata: float) -> Any:
    """A GeoTIFF open for writing."""
    height, width = grid.shape
    file = rasterio.open(
        path, "w+", driver="GTiff", height=height, width=width, count=len(bands), dtype=dtype, crs=str(grid.crs),
        transform=grid.affine, nodata=nodata, tiled=True, blockxsize=TILE_PX, blockysize=TILE_PX, interleave="band",
        BIGTIFF="IF_SAFER",
    )  # fmt: skip
    file.descriptions = tuple(band.name for band in bands)
    file.units = tuple(band.unit for band in bands)
    return file


def _check_whole(path: Path) -> None:
    """Raise OSError unless every block of a GeoTIFF lies within its file: GDAL closes files, and copies them, in silence
    when the last writes fail, as they do on a full disk."""
    size = path.stat().st_size
    with rasterio.open(path) as file:
        (height, width), (rows, columns) = file.shape, file.block_shapes[0]
        for band in file.indexes:
            for x in range(-(-width // columns)):
                for y in range(-(-height // rows)):
                    found = [
                        file.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE")
                    ]
                    if None in found or sum(map(int, found)) > size:
                        raise OSError(f"what was written is not whole, {size} bytes")


def write(path: Path, raster: Raster, nodata: float = np.nan) -> None:
    """Write a whole raster as a Cloud-Optimised GeoTIFF."""
    with create(path, raster.grid, raster.bands, raster.values.dtype.name, nodata) as sink:
        sink.write(raster.values)
