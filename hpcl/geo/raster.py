"""Rasters: the only GeoTIFF reader and writer, and the only place that walks a scene block by block.

A raster is a float32 array ``(band, row, column)`` whose nodata is NaN, on a `Grid` (an odc-geo GeoBox: shape, affine
transform and CRS), with a name and a unit for every band. Codes (labels) stay uint8 with a declared nodata code.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from affine import Affine
from odc.geo.geobox import GeoBox as Grid
from odc.geo.types import Shape2d
from rasterio.enums import Resampling
from rasterio.env import get_gdal_config, set_gdal_config
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from hpcl.core.artifacts import remedy
from hpcl.core.prefetch import ahead

__all__ = [
    "Band",
    "Grid",
    "Raster",
    "RasterError",
    "Roi",
    "Shape",
    "Sink",
    "Source",
    "blocks",
    "common_grid",
    "create",
    "fill",
    "map_blocks",
    "read",
    "write",
]

Roi = tuple[slice, slice]
"""Rows and columns of a grid, in pixels."""
Shape = tuple[int, int] | Shape2d
"""Rows and columns, as numpy or as a grid gives them."""

TILE_PX = 512
"""Side of the tiles in a file."""
BLOCK_PX = 512
"""Side of the blocks in which a scene is processed: whole tiles, and 1 MiB a float32 band, which the processor's caches
still hold. In blocks of 1024 all terrain attributes took 1.7 times as long."""


CACHE_MIB = 512
"""Blocks that GDAL keeps of all files together; by default it takes a twentieth of the machine's memory."""
# In the environment, where GDAL looks when it reads its first block: rasterio.Env would take the bound back on leaving.
os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_MIB))


COPY_CACHE_MIB = 128
"""The same while a finished file is copied, which reads every block once: with more of them, in a heap that other work left
in pieces, memory would grow by a quarter with the first copy."""


def _keep_freed_memory() -> None:
    """Have glibc keep up to 64 MiB of freed memory for the next block, in one heap for all threads.

    By itself it hands the arrays of each block back to the system, which must clear every page that it gives out again:
    terrain then took a fifth longer.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((-8, 1), (-1, 64 * 2**20), (-3, 32 * 2**20)):  # M_ARENA_MAX, M_TRIM_, M_MMAP_THRESHOLD
            libc.mallopt(option, value)


_keep_freed_memory()


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

    def thumbnail(self, max_px: int, bands: Sequence[str] | None = None) -> npt.NDArray[Any]:
        """Layers ``(band, row, column)`` of the whole grid, shrunk to at most ``max_px`` a side, never enlarged.

        Numbers are averaged over what is no nodata, codes are taken from the nearest pixel. Overviews are used where
        the file has them, so memory and time do not grow with the scene.
        """
        height, width = self.grid.shape
        shrink = max(1.0, max(height, width) / max_px)
        shape = max(1, round(height / shrink)), max(1, round(width / shrink))
        wanted = [_index(self.bands, name, str(self.path)) + 1 for name in bands] if bands is not None else None
        how = Resampling.nearest if self.dtype.itemsize == 1 else Resampling.average
        try:
            with self._turn:
                values = self._file.read(wanted, out_shape=(len(wanted or self.bands), *shape), resampling=how)
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
    path: Path, grid: Grid, bands: Sequence[Band], dtype: str = "float32", nodata: float = np.nan
) -> Iterator[Sink]:
    """Write a Cloud-Optimised GeoTIFF by windows; it appears under ``path`` complete or not at all.

    The layers are collected in a tiled GeoTIFF and copied once to the COG layout (tiles of 512, overviews, deflate),
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
            yield _draft(files, str(draft), grid, bands, dtype, nodata)
        for drafted in drafts.iterdir():
            _check_whole(drafted)
        with _small_cache():
            rasterio.shutil.copy(
                draft, final, driver="COG", blocksize=TILE_PX, compress="deflate",
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


def _draft(files: ExitStack, path: str, grid: Grid, bands: Sequence[Band], dtype: str, nodata: float) -> Sink:
    """A GeoTIFF open for writing, and beside it the drafts of its overviews, until one tile holds all."""
    (height, width), coarser = grid.shape, None
    if max(height, width) > TILE_PX:
        half = Grid((-(-height // 2), -(-width // 2)), grid.affine * Affine.scale(2), grid.crs)
        coarser = _draft(files, f"{path}.ovr", half, bands, dtype, nodata)
    file = files.enter_context(rasterio.open(
        path, "w+", driver="GTiff", height=height, width=width, count=len(bands), dtype=dtype, crs=str(grid.crs),
        transform=grid.affine, nodata=nodata, tiled=True, blockxsize=TILE_PX, blockysize=TILE_PX, interleave="band",
        BIGTIFF="IF_SAFER",
    ))  # fmt: skip
    file.descriptions = tuple(band.name for band in bands)
    file.units = tuple(band.unit for band in bands)
    return Sink(file, grid, coarser)


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


def read(path: Path, bands: Sequence[str] | None = None) -> Raster:
    """A whole raster file, or the named ``bands`` of it, in memory."""
    with Source(path) as source:
        chosen = (
            source.bands if bands is None else tuple(source.bands[_index(source.bands, b, str(path))] for b in bands)
        )
        return Raster(source.read(bands=bands), source.grid, chosen)


def write(path: Path, raster: Raster, nodata: float = np.nan) -> None:
    """Write a whole raster as a Cloud-Optimised GeoTIFF."""
    with create(path, raster.grid, raster.bands, raster.values.dtype.name, nodata) as sink:
        sink.write(raster.values)


def blocks(shape: Shape, block_px: int = BLOCK_PX) -> Iterator[Roi]:
    """Windows that cover a ``(row, column)`` shape once, row by row; the last ones are smaller.

    >>> [(r.start, r.stop, c.start, c.stop) for r, c in blocks((3, 5), 4)]
    [(0, 3, 0, 4), (0, 3, 4, 5)]
    """
    height, width = shape
    for top in range(0, height, block_px):
        for left in range(0, width, block_px):
            yield slice(top, min(top + block_px, height)), slice(left, min(left + block_px, width))


@contextmanager
def _workers() -> Iterator[tuple[Executor, int]]:
    """Where blocks are computed: local threads, or the Dask cluster named by DASK_SCHEDULER_ADDRESS."""
    if dask.config.get("scheduler-address", None) is not None:
        from distributed import Client  # noqa: PLC0415  (2 s of import that a laptop run does not need)

        with Client() as client:
            yield client.get_executor(pure=False), 2 * max(1, sum(client.nthreads().values()))
    else:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as executor:
            yield executor, 2 * threads


def _compute_block(
    compute: Callable[..., npt.NDArray[Any]],
    sources: Sequence[Source],
    bands: Sequence[Sequence[str] | None],
    halo_px: int,
    roi: Roi,
) -> npt.NDArray[Any]:
    return compute(*(source.read(roi, names, halo_px) for source, names in zip(sources, bands, strict=True)))


def fill(
    sink: Sink,
    compute: Callable[[Roi], npt.NDArray[Any]],
    *,
    block_px: int = BLOCK_PX,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write what ``compute`` gives, ``(band, row, column)``, for every block of a raster, in memory that does not grow
    with the scene.

    Blocks are computed on local threads, or on a Dask cluster, for which ``compute`` must be picklable; at most two blocks
    per worker are under way, and they are written in their order, so equal blocks make equal bytes.
    """
    rois = list(blocks(sink.grid.shape, block_px))
    with _workers() as (executor, most):
        computed = ahead(lambda roi: executor.submit(compute, roi), rois, most)
        for done, (roi, values) in enumerate(zip(rois, computed, strict=True)):
            sink.write(values, roi)
            progress(done + 1, len(rois))


def map_blocks(
    compute: Callable[..., npt.NDArray[Any]],
    inputs: Sequence[Path],
    sink: Sink,
    *,
    input_bands: Sequence[Sequence[str] | None] | None = None,
    halo_px: int = 0,
    block_px: int = BLOCK_PX,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute a raster from others on the same grid, as `fill` does.

    ``compute`` gets one array ``(band, row + 2 halo, column + 2 halo)`` per input and returns ``(band, row, column)``;
    on a Dask cluster, the paths must mean the same on every worker.
    """
    names = input_bands or [None] * len(inputs)
    with ExitStack() as files:
        sources = [files.enter_context(Source(path)) for path in inputs]
        common_grid({source.path: source.grid for source in sources})
        fill(sink, partial(_compute_block, compute, sources, names, halo_px), block_px=block_px, progress=progress)
