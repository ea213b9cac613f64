"""Ingest: any area's raw files, checked and brought onto one metric grid; its inventory repaired and rasterised.

`survey` reads every file once, refuses what is wrong in one sentence and writes nothing; `write` then writes what was
found good. Raw files mark nodata, units and axes in every way there is, so they are opened here (`Raw`) and not with
`hpcl.raster.Source`, which knows only the convention of this project. Everything goes window by window.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import rasterio
import shapely
from odc.geo.crs import CRS
from odc.geo.geom import BoundingBox
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion
from pyproj.exceptions import ProjError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import rasterize
from rasterio.windows import Window

from hpcl import raster, vector
from hpcl.raster import Band, Grid, Roi
from hpcl.regrid import resample

__all__ = ["UNKNOWN", "IngestError", "IngestSettings", "Inventory", "Plan", "Raw", "survey", "write"]

Floats = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

UNKNOWN = 255
"""Label code of a pixel of which nobody knows whether it is landslide: outside the labelled extent, or no image."""

DEFAULT_CLASS = "landslide"
VECTOR_SUFFIXES = (".gpkg", ".shp", ".geojson")
METRES = ("m", "metre", "metres", "meter", "meters")

# What a check looks for is part of the check, not a knob of the pipeline.
SENTINELS = (
    -32768, -32767, -9999, -99999, -999, 9999, 99999, 32767, 65535,
    float(np.finfo("f4").min), float(np.finfo("f4").max), float(np.finfo("f8").min), float(np.finfo("f8").max),
    -1e38, 1e38, 1e20, -1e20,
)  # fmt: skip
"""Numbers that programs write for "no data"."""
CLEAR_FRAC, CLEAR_M = 0.1, 10.0
"""A sentinel stands clear of the data: by this share of their range; no natural surface jumps by more metres either."""
EDGE_FRAC, EDGE_JUMP_FRAC = 0.05, 0.3
"""Fill of an image: this share of its edge, and the scene beside it has this share of its mean brightness at least."""

MOST_PX = 16 * 1024 * 1024
"""Largest source window warped at once, in pixels and bands (64 MiB as float32)."""


class IngestError(ValueError):
    """A raw area that cannot be used; the message names file, finding and remedy."""


@settings_dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid"))
class IngestSettings:
    """What is expected of a raw area."""

    optical_bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the optical bands; an optical file has as many, and its own names, where it has them, win."""
    dem_margin_px: Annotated[int, Field(ge=0)]
    """Pixels of the DEM that are kept around the image, so that a shifted DEM still covers it."""
    area_change_max_frac: Annotated[float, Field(ge=0, le=1)]
    """An inventory whose area changes by more when its polygons are repaired is refused."""
    stretch_max_frac: Annotated[float, Field(ge=0)]
    """A projected CRS whose metres differ from metres on the ground by more is no metric grid (Web Mercator)."""


# ---------------------------------------------------------------------------------------------------- raw rasters


class Raw:
    """A raw raster, open: any type, any mark of nodata, any axes. Use as a context manager.

    ``grid`` has the horizontal part of the file's CRS; ``bands`` leaves an alpha band out, which is a mask.
    Raises `IngestError` for a file that cannot be opened or does not say where it lies.
    """

    def __init__(self, path: Path, expected_bands: int | None = None) -> None:
        """Open ``path``; ``expected_bands`` tells an alpha band from a fourth band of data (see `_alpha`)."""
        self.path = path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # refused below, in words of our own
                self._file = rasterio.open(path)
        except RasterioError as error:
            raise IngestError(
                f"{path} cannot be opened as a raster (cut short or damaged?); copy the file again."
            ) from error
        try:
            self.crs = self._full_crs()
            self.grid = Grid(self._file.shape, self._file.transform, _horizontal(self.crs))
        except BaseException:
            self._file.close()
            raise
        self._alpha = self._alpha_index(expected_bands)
        self._indexes = [i for i in self._file.indexes if i != self._alpha]
        at = [i - 1 for i in self._indexes]
        self.bands = tuple(Band(self._file.descriptions[i] or "", self._file.units[i] or "") for i in at)
        self._scales = np.array([self._file.scales[i] for i in at])[:, None, None]
        self._offsets = np.array([self._file.offsets[i] for i in at])[:, None, None]
        self.dtype = np.dtype(self._file.dtypes[at[0]] if at else "uint8")
        if self.dtype.kind not in "iuf":
            self._file.close()
            raise IngestError(
                f"{path} holds numbers of type {self.dtype}; give real ones (of a radar image, the amplitude)."
            )
        self._nodata = [self._file.nodatavals[i] for i in at]
        # A mask of its own, beside the bands. GDAL's masks are not asked else: they take any fourth band for one.
        flags = [self._file.mask_flag_enums[i] for i in at]
        self._masked = any(MaskFlags.per_dataset in flag and MaskFlags.alpha not in flag for flag in flags)
        self.declares_nodata = (
            self._masked or self._alpha is not None or any(nodata is not None for nodata in self._nodata)
        )

    def _alpha_index(self, expected_bands: int | None) -> int | None:
        """The last band if it is a mask: called alpha, without a name, and one more than the bands expected.

        The colour alone says little: GDAL calls the fourth band of any 8-bit file alpha.
        """
        last = self._file.count
        if self._file.colorinterp[-1] != ColorInterp.alpha or self._file.descriptions[-1] or last == 1:
            return None
        return last if expected_bands in (None, last - 1) else None

    def _full_crs(self) -> pyproj.CRS:
        if self._file.crs is None:
            raise IngestError(
                f"{self.path} has no coordinate reference system; find out which one it was made in and"
                f" set it, as in `rio edit-info --crs EPSG:32648 {self.path}`."
            )
        crs = pyproj.CRS(self._file.crs.to_wkt())
        if not (_horizontal(crs).projected or _horizontal(crs).geographic):
            raise IngestError(
                f"{self.path} has the local coordinate system '{crs.name}', which no map knows; set the one it lies in,"
                f" as in `rio edit-info --crs EPSG:32648 {self.path}`."
            )
        if self._file.transform.is_identity:
            raise IngestError(
                f"{self.path} has a coordinate reference system but no position in it; georeference it"
                " (gdalwarp does it from control points) and put the result there."
            )
        if _horizontal(crs).geographic:
            x, y = np.abs(
                np.array(self._file.transform * (np.array([0, self._file.width]), np.array([0, self._file.height])))
            )
            if x.max() > 361 or y.max() > 91:
                raise IngestError(
                    f"{self.path} has the geographic CRS {_name(_horizontal(crs))}, but its coordinates ({x[0]:.6g}, {y[0]:.6g})"
                    f" are no degrees; set the CRS it was made in, as in `rio edit-info --crs EPSG:32648 {self.path}`."
                )
        return crs

    def __enter__(self) -> Raw:
        """The open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def read_native(self, roi: Roi) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Stored numbers of a window inside the grid and whether each is data, both ``(band, row, column)``."""
        window = Window.from_slices((roi[0].start, roi[0].stop), (roi[1].start, roi[1].stop))
        try:
            values = self._file.read(self._indexes, window=window)
            valid = np.isfinite(values)
            for layer, nodata in enumerate(self._nodata):
                if nodata is not None and not math.isnan(nodata):
                    with np.errstate(over="ignore"):  # a nodata number that the type cannot hold is nowhere
                        valid[layer] &= values[layer] != nodata
            if self._masked:
                valid &= self._file.read_masks(self._indexes, window=window) > 0
            if self._alpha is not None:
                valid &= self._file.read(self._alpha, window=window) > 0
        except RasterioError as error:
            raise IngestError(f"{self.path} breaks off while it is read (truncated?); copy the file again.") from error
        return values, valid

    def read(self, roi: Roi) -> Floats:
        """Values of a window, scaled as the file says, NaN where there is no data, also beyond the edge of the grid."""
        height, width = self.grid.shape
        rows, columns = roi
        out = np.full((len(self._indexes), rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
        inside = _clip(rows, height), _clip(columns, width)
        if inside[0] is None or inside[1] is None:
            return out
        values, valid = self.read_native((inside[0], inside[1]))
        if np.any(self._scales != 1) or np.any(self._offsets != 0):
            values = values * self._scales + self._offsets
        top, left = inside[0].start - rows.start, inside[1].start - columns.start
        part = out[:, top : top + values.shape[1], left : left + values.shape[2]]
        np.copyto(part, values, where=valid, casting="unsafe")
        return out


def _clip(span: slice, size: int) -> slice | None:
    start, stop = max(span.start, 0), min(span.stop, size)
    return slice(start, stop) if start < stop else None


@lru_cache(maxsize=64)
def _horizontal(crs: pyproj.CRS) -> CRS:
    """A CRS without its heights, named by its EPSG code if it surely has one (a search that takes half a second)."""
    flat = crs.to_2d() if len(crs.axis_info) == 3 else crs
    code = flat.to_epsg(min_confidence=100)
    return CRS(f"EPSG:{code}" if code else flat.to_wkt())


# ---------------------------------------------------------------------------------------------------------- grids


@lru_cache(maxsize=64)
def _transformer(source: CRS, target: CRS) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source.proj, target.proj, always_xy=True)


def _lattice(grid: Grid, crs: CRS, points: int = 17) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """x and y in ``crs`` of a lattice over ``grid``, edges included."""
    height, width = grid.shape
    columns, rows = np.meshgrid(np.linspace(0, width, points), np.linspace(0, height, points))
    x, y = grid.affine * (columns.ravel(), rows.ravel())
    if grid.crs == crs:
        return x, y
    x, y = _transformer(grid.crs, crs).transform(x, y)
    return x, y


def _window(area: Grid, of: Grid, grow_px: int = 0) -> Roi | None:
    """Rows and columns of the grid ``of`` that ``area`` lies on, grown by some pixels; None if it lies elsewhere."""
    x, y = _lattice(area, _crs(of))
    columns, rows = ~of.affine * (x, y)
    seen = np.isfinite(columns) & np.isfinite(rows)
    if not seen.any():
        return None
    # A thousandth of a pixel is rounding of coordinates, not a further row.
    spans = []
    for at, size in ((rows[seen], of.shape[0]), (columns[seen], of.shape[1])):
        if at.max() <= 1e-3 or at.min() >= size - 1e-3:
            return None
        start, stop = math.floor(at.min() + 1e-3) - grow_px, math.ceil(at.max() - 1e-3) + grow_px
        spans.append(slice(max(start, 0), min(stop, size)))
    return spans[0], spans[1]


def _same_place(grid: Grid, crs: CRS) -> bool:
    """Whether ``crs`` puts ``grid`` where its own CRS does, to .01 pixel, however differently the two are written."""
    if grid.crs == crs:
        return True
    if _crs(grid).projected != crs.projected:
        return False
    here, there = _lattice(grid, _crs(grid)), _lattice(grid, crs)
    with np.errstate(invalid="ignore"):  # a point without an image in `crs` is inf, and far away
        return bool(max(np.abs(a - b).max() for a, b in zip(here, there, strict=True)) < 0.01 * _pixel(grid))


def _crs(grid: Grid) -> CRS:
    """The CRS of a grid; every grid here has one, because `Raw` refuses a file without."""
    if grid.crs is None:
        raise TypeError("a grid without a CRS")
    return grid.crs


def _pixel(grid: Grid) -> float:
    """Side of the square as large as a pixel, in units of the CRS."""
    return math.sqrt(abs(grid.affine.determinant))


def _is_north_up(grid: Grid) -> bool:
    a = grid.affine
    return a.a > 0 and a.e < 0 and max(abs(a.b), abs(a.d)) * max(grid.shape) < 0.01 * _pixel(grid)


def _is_square(grid: Grid) -> bool:
    return math.isclose(abs(grid.affine.a), abs(grid.affine.e), rel_tol=0.01)


def _north_up(grid: Grid, crs: CRS) -> Grid:
    """The north-up grid of square pixels in ``crs`` that covers ``grid`` at the resolution of its middle.

    Raises `ProjError` where the grid lies outside of what ``crs`` can map.
    """
    x, y = _lattice(grid, crs)
    height, width = grid.shape
    middle = _lattice(grid[height // 2 : height // 2 + 1, width // 2 : width // 2 + 1], crs, 2)
    (dx1, dx2), (dy1, dy2) = ((a[1] - a[0], a[2] - a[0]) for a in middle)
    pixel = math.sqrt(abs(dx1 * dy2 - dx2 * dy1))
    if not (np.isfinite(x).all() and np.isfinite(y).all() and pixel > 0):
        raise ProjError(f"outside of {_name(crs)}")
    if grid.crs == crs:
        return Grid.from_bbox(BoundingBox(x.min(), y.min(), x.max(), y.max(), crs), resolution=_pixel(grid), tight=True)
    return Grid.from_bbox(BoundingBox(x.min(), y.min(), x.max(), y.max(), crs), resolution=float(f"{pixel:.4g}"))


def _name(crs: CRS) -> str:
    code = str(crs)
    return f"{crs.proj.name} ({code})" if code.startswith("EPSG:") else str(crs.proj.name)


def _geodetic(grid: Grid) -> Any:
    """Longitude and latitude on the datum of a grid, as a pyproj CRS."""
    return _crs(grid).proj.geodetic_crs


def _to_degrees(grid: Grid, x: Any, y: Any) -> tuple[Any, Any]:
    """Longitude and latitude, on the grid's own datum, of points in its CRS."""
    lon, lat = pyproj.Transformer.from_crs(_crs(grid).proj, _geodetic(grid), always_xy=True).transform(x, y)
    return lon, lat


def _centre(grid: Grid) -> tuple[float, float]:
    x, y = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    return x, y


def _stretch_frac(grid: Grid) -> float:
    """How far a map metre in the middle of the grid is from a metre on the ground, in the worse direction."""
    x, y = _centre(grid)
    step = _pixel(grid)
    lon, lat = _to_degrees(grid, [x - step, x + step, x, x], [y, y, y - step, y + step])
    _, _, ground = _geodetic(grid).get_geod().inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
    return float(max(abs(2 * step / metres - 1) for metres in ground))


def _local_crs(grid: Grid) -> CRS:
    """The UTM zone of the middle of a grid; on another body or near a pole, a transverse Mercator centred on it."""
    lon, lat = _to_degrees(grid, *_centre(grid))
    geodetic = _geodetic(grid)
    if abs(geodetic.ellipsoid.semi_major_metre - 6378137) < 5000 and -80 < lat < 84:
        return CRS(f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) % 360 // 6) + 1}")
    centred = TransverseMercatorConversion(round(lat, 2), round(lon, 2), scale_factor_natural_origin=1.0)
    name = f"{geodetic.name} / local transverse Mercator"
    return CRS(ProjectedCRS(centred, name=name, geodetic_crs=geodetic).to_wkt())


def _image_grid(optical: Raw, settings: IngestSettings) -> tuple[Grid, str | None]:
    """The grid of everything: the optical file's own if its metres are metres, else a local one, and why."""
    grid = optical.grid
    crs = _crs(grid).proj
    if not _crs(grid).projected:
        why = "a geographic CRS"
    elif any(abs(axis.unit_conversion_factor - 1) > 1e-9 for axis in crs.axis_info[:2]):
        why = f"a CRS in {crs.axis_info[0].unit_name}"
    elif (stretch := _stretch_frac(grid)) > settings.stretch_max_frac:
        why = f"a CRS that stretches lengths by {stretch:.0%} here"
    elif not (_is_north_up(grid) and _is_square(grid)):
        target = _north_up(grid, _crs(grid))
        what = "is not on a north-up grid of square pixels and was resampled to one"
        return target, f"{optical.path.name} {what} with pixels of {_pixel(target):.4g} m."
    else:
        return grid, None
    target = _north_up(grid, _local_crs(grid))
    what = f"has {why} ({_name(_crs(grid))}) and was reprojected to {_name(_crs(target))}"
    return target, f"{optical.path.name} {what} with pixels of {_pixel(target):.4g} m."


def _offset_px(source: Grid, target: Grid) -> tuple[int, int] | None:
    """Row and column of ``source`` at which ``target`` begins, if the two are cut from the same lattice of pixels."""
    if source.crs != target.crs:
        return None
    m = ~source.affine * target.affine
    size = max(target.shape)
    fits = max(abs(m.a - 1), abs(m.e - 1), abs(m.b), abs(m.d)) * size < 0.01
    row, column = round(m.f), round(m.c)
    return (row, column) if fits and max(abs(m.f - row), abs(m.c - column)) < 0.01 else None


def read_onto(raw: Raw, grid: Grid, target: Grid, resampling: Resampling, zoom: float) -> Floats:
    """The layers of a raw file on (a block of) another grid, NaN where it has no data.

    ``grid`` is the file's grid, with its CRS written as the target's where both mean the same; ``zoom`` is `_zoom` of
    the two whole grids, so that all blocks are resampled alike. Pixels are copied where
    the grids share them. Else GDAL's kernel weighs the valid pixels alone, each layer by itself, so nodata neither
    bleeds into its surroundings nor grows. Memory stays below a few times ``MOST_PX`` however fine the source is.
    """
    height, width = target.shape
    offset = _offset_px(grid, target)
    if offset is not None:
        return raw.read((slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width)))
    window = _window(target.pad(2), grid, grow_px=3)  # the kernel: 2 px of the coarser of the two grids, and a spare
    if window is None:
        return np.full((len(raw.bands), height, width), np.nan, np.float32)
    size = len(raw.bands) * math.prod(s.stop - s.start for s in window)
    if size > MOST_PX and max(height, width) > 1:
        axis = 0 if height >= width else 1
        half = target.shape[axis] // 2
        parts = (target[:half], target[half:]) if axis == 0 else (target[:, :half], target[:, half:])
        return np.concatenate([read_onto(raw, grid, part, resampling, zoom) for part in parts], axis=1 + axis)
    return resample(raw.read(window), grid[window], target, resampling, zoom)


def _zoom(source: Grid, target: Grid) -> float:
    """Pixels of ``target`` per pixel of ``source`` along a side, in its middle; 1 if there are as many or more."""
    rows, columns = (size // 2 for size in target.shape)
    x, y = _lattice(target[rows : rows + 1, columns : columns + 1], _crs(source), 2)
    columns_px, rows_px = ~source.affine * (x, y)
    across, down = ((a[1] - a[0], a[2] - a[0]) for a in (columns_px, rows_px))
    area_px = abs(across[0] * down[1] - across[1] * down[0])
    zoom = 1 / math.sqrt(area_px)
    return zoom if zoom < 0.9 else 1.0


# --------------------------------------------------------------------------------------------------------- checks


def _check_unit(dem: Raw) -> None:
    """Refuse elevations that are not metres, by the band's unit, else the vertical axis, else the horizontal unit."""
    remedy = f"convert them to metres and set `rio edit-info --bidx 1 --units metre {dem.path}`"
    unit = dem.bands[0].unit
    if unit:
        if unit.strip().lower() not in METRES:
            raise IngestError(f"{dem.path} has elevations in '{unit}' by the unit of its band; {remedy}.")
        return
    axes = dem.crs.axis_info
    vertical = [axis for axis in axes if axis.direction in ("up", "down")]
    horizontal = [axis for axis in axes if axis.direction in ("east", "north") and _crs(dem.grid).projected]
    what = "by its vertical CRS" if vertical else "like its map, as far as one can tell"
    for axis in vertical or horizontal:
        if abs(axis.unit_conversion_factor - 1) > 1e-9:
            raise IngestError(
                f"{dem.path} has elevations in {axis.unit_name} {what}; {remedy}"
                " (if they are metres already, set that alone)."
            )


@dataclass
class _Seen:
    """What a pass over one layer has met so far, in stored numbers."""

    valid: int = 0
    low: float = math.inf
    high: float = -math.inf
    codes: dict[float, int] | None = None

    def add(self, values: npt.NDArray[Any], codes: Sequence[float]) -> None:
        """Count the ``values`` (data only, any shape): suspicious codes one by one, the others by their range."""
        self.codes = self.codes if self.codes is not None else {}
        if not values.size:
            return
        self.valid += values.size
        low, high = values.min(), values.max()
        for code in codes:
            if low <= code <= high and (count := int(np.count_nonzero(values == values.dtype.type(code)))):
                self.codes[code] = self.codes.get(code, 0) + count
                values = values[values != values.dtype.type(code)]
        if values.size:
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def sentinel(self, elevation: bool) -> tuple[float, float] | None:
        """A code that stands clear of the other values, and its share; None if there is no such code."""
        clear = CLEAR_FRAC * (self.high - self.low)
        clear = min(clear, CLEAR_M) if elevation else clear
        for code, count in (self.codes or {}).items():
            alone = self.low > self.high
            if alone or max(self.low - code, code - self.high) > clear:
                return code, count / self.valid
        return None


def _representable(codes: Iterable[float], dtype: np.dtype[Any]) -> list[float]:
    if dtype.kind == "f":
        return [c for c in codes if abs(c) <= float(np.finfo(dtype).max)]
    info = np.iinfo(dtype)
    return [c for c in codes if float(c).is_integer() and info.min <= c <= info.max]


class _Edge:
    """Evidence that an image is filled with one number where it has no data: 0 or the largest of its type.

    Dark pixels are no fill: they lie anywhere, have other values in some band, and dark neighbours. Fill begins at the
    edge, is the same in all bands, and where it ends the scene is as bright as elsewhere. So look at the first and the
    last pixel of each row and column, and at the first and the last that are not fill. Memory is that of the outline.
    """

    def __init__(self, code: float, shape: tuple[int, int]) -> None:
        """Nothing seen yet of a scene of ``shape`` (row, column)."""
        self.code = code
        # For rows (0) and columns (1), from their beginning (0) and their end (1): is the edge pixel fill, and how far
        # from fill is the outermost pixel that is not.
        self.filled = [np.zeros((2, size), bool) for size in shape]
        self.beside = [np.full((2, size), np.nan, np.float32) for size in shape]
        self.scene, self.scene_sum = 0, 0.0

    def add(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], roi: Roi) -> None:
        """Look at the block ``(band, row, column)`` at ``roi``; blocks come row by row."""
        distance = np.abs(values.astype(np.float32) - self.code).max(axis=0)
        known = valid.all(axis=0)
        fill, scene = known & (distance == 0), known & (distance > 0)
        self.scene += int(scene.sum())
        self.scene_sum += float(distance[scene].sum(dtype=np.float64))
        for axis, lines in enumerate(roi):
            across = roi[1 - axis]
            fill_lines, scene_lines, far = (a if axis == 0 else a.T for a in (fill, scene, distance))
            some = scene_lines.any(axis=1)
            for end, outermost in enumerate((scene_lines.argmax(axis=1), -1 - scene_lines[:, ::-1].argmax(axis=1))):
                met = np.where(some, far[np.arange(len(far)), outermost], np.nan)
                before = self.beside[axis][end, lines]
                # The first scene pixel of a line stays, the last is the latest.
                kept = np.where(np.isnan(before), met, before) if end == 0 else np.where(np.isnan(met), before, met)
                self.beside[axis][end, lines] = kept
            if across.start == 0:
                self.filled[axis][0, lines] = fill_lines[:, 0]
            if across.stop == len(self.filled[1 - axis][0]):
                self.filled[axis][1, lines] = fill_lines[:, -1]

    @property
    def filled_frac(self) -> float:
        """Share of the edge that is fill, 0 if it looks like part of the scene."""
        filled = np.concatenate([lines.ravel() for lines in self.filled])
        beside = np.concatenate([lines.ravel() for lines in self.beside])[filled]
        beside = beside[np.isfinite(beside)]
        if filled.mean() < EDGE_FRAC:
            return 0.0
        if beside.size and beside.mean(dtype=np.float64) < EDGE_JUMP_FRAC * self.scene_sum / self.scene:
            return 0.0
        return float(filled.mean())


def _check_values(raw: Raw, window: Roi, core: Roi, elevation: bool, tick: Callable[[], None]) -> None:
    """Read a window of a raw file once: is it whole, has it data where the image lies (``core``), is nodata declared?"""
    codes = _representable([*SENTINELS, 0] if elevation else SENTINELS, raw.dtype)
    layers = [_Seen() for _ in raw.bands]
    top, left = window[0].start, window[1].start
    shape = window[0].stop - top, window[1].stop - left
    edges = []
    if not (elevation or raw.declares_nodata):
        fills = [0.0] + ([float(np.iinfo(raw.dtype).max)] if raw.dtype.kind == "u" else [])
        edges = [_Edge(fill, shape) for fill in fills]
    covered = False
    for roi in raster.blocks(shape):
        rows, columns = slice(top + roi[0].start, top + roi[0].stop), slice(left + roi[1].start, left + roi[1].stop)
        values, valid = raw.read_native((rows, columns))
        for layer, layer_values, layer_valid in zip(layers, values, valid, strict=True):
            layer.add(layer_values[layer_valid], codes)
        for edge in edges:
            edge.add(values, valid, roi)
        inside = (
            slice(max(core[0].start - rows.start, 0), max(core[0].stop - rows.start, 0)),
            slice(max(core[1].start - columns.start, 0), max(core[1].stop - columns.start, 0)),
        )
        covered |= bool(valid[:, inside[0], inside[1]].any())
        tick()
    for layer in layers:
        if found := layer.sentinel(elevation):
            _refuse_sentinel(raw.path, found[0], f"at {found[1]:.2%} of its pixels, far from all its other values")
    for edge in edges:
        if edge.filled_frac:
            _refuse_sentinel(raw.path, edge.code, f"in all bands along {edge.filled_frac:.0%} of its edge")
    if not covered:
        raise IngestError(f"{raw.path} has no data where the image lies; give a file that covers the area.")


def _refuse_sentinel(path: Path, code: float, where: str) -> None:
    raise IngestError(
        f"{path} is {code:.9g} {where}, which looks like nodata that is not declared; declare it, as in"
        f" `rio edit-info --nodata {code:.9g} {path}`."
    )


def _optical_bands(optical: Raw, settings: IngestSettings) -> tuple[tuple[Band, ...], str | None]:
    """The optical bands by name: the file's own names if it has any, else those of the settings. A file whose own names are
    only some of those of the settings lacks the others."""
    wanted = settings.optical_bands
    own = [band.name for band in optical.bands]
    if set(own) < set(wanted) and len(set(own)) == len(own):
        lacking = [name for name in wanted if name not in own]
        return optical.bands, f"{optical.path.name} has no band {', '.join(lacking)} of ingest.optical_bands."
    if len(own) != len(wanted):
        raise IngestError(
            f"{optical.path} has {len(optical.bands)} bands, but params.yaml ingest.optical_bands names {len(wanted)}"
            f" ({', '.join(wanted)}); give a file with these bands, or name the bands that it has (in the file itself, by their"
            " descriptions, if other areas have more)."
        )
    if not all(own):
        return tuple(Band(name, band.unit) for name, band in zip(wanted, optical.bands, strict=True)), None
    if own == list(wanted):
        return optical.bands, None
    differ = f"names its bands {', '.join(own)}, ingest.optical_bands {', '.join(wanted)}"
    return optical.bands, f"{optical.path.name} {differ}; its own names were kept."


def _further_bands(raw: Raw) -> tuple[Band, ...]:
    stem = raw.path.stem
    names = [stem] if len(raw.bands) == 1 else [f"{stem}_{i + 1}" for i in range(len(raw.bands))]
    return tuple(Band(band.name or name, band.unit) for band, name in zip(raw.bands, names, strict=True))


# ------------------------------------------------------------------------------------------------------ inventory


@dataclass(frozen=True)
class Inventory:
    """Mapped landslides in the image's CRS, valid; and where the map is complete (None: everywhere)."""

    table: gpd.GeoDataFrame
    classes: tuple[str, ...]
    extent: Any | None
    facts: dict[str, Any]


def _vector_file(folder: Path, stem: str) -> Path | None:
    found = [folder / f"{stem}{suffix}" for suffix in VECTOR_SUFFIXES if (folder / f"{stem}{suffix}").exists()]
    if len(found) > 1:
        raise IngestError(f"{folder} has {' and '.join(path.name for path in found)}; keep the one that counts.")
    return found[0] if found else None


def _polygons(path: Path, crs: CRS) -> gpd.GeoDataFrame:
    """The polygons of a vector file in ``crs``, not yet repaired."""
    try:
        table = vector.read(path)
    except RuntimeError as error:  # pyogrio's other errors: a layer, a feature or a geometry that GDAL cannot read
        raise IngestError(f"{path} cannot be read ({' '.join(str(error).split())}); export it again.") from error
    if isinstance(table, gpd.GeoDataFrame):  # a table without geometry comes back as a plain one
        table = table[~(table.geometry.isna() | table.geometry.is_empty)]
    if table.empty or not isinstance(table, gpd.GeoDataFrame):
        raise IngestError(f"{path} has no polygons; draw some, or take the file away.")
    if table.crs is None:
        raise IngestError(f"{path} has no coordinate reference system; save it again with the one it was drawn in.")
    kinds = sorted(set(table.geom_type) - {"Polygon", "MultiPolygon"})
    if kinds:
        raise IngestError(f"{path} holds geometries of type {', '.join(kinds)}; give the outlines as polygons.")
    table = table.set_geometry(shapely.force_2d(table.geometry.values))
    if not (table.crs == crs.proj or _horizontal(table.crs) == crs):
        try:
            table = table.to_crs(crs.proj)
        except ProjError as error:
            raise IngestError(f"{path} cannot be brought into the image's CRS {_name(crs)}; check its CRS.") from error
    if not np.isfinite(table.total_bounds).all():
        raise IngestError(f"{path} has coordinates outside the image's CRS {_name(crs)}; check its CRS.")
    return table


def _repair(shapes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Valid polygons for invalid ones: crossings become corners, collapsed parts vanish; valid ones stay."""
    shapes = np.array(shapes, dtype=object)
    broken = ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    return shapes


def _inventory(
    path: Path, extent_path: Path | None, image: Grid, settings: IngestSettings
) -> tuple[Inventory, list[str]]:
    """Read, repair and check an inventory; returns it with the sentences to tell."""
    findings = []
    table = _polygons(path, _crs(image))
    before = table.geometry.values
    broken = int((~shapely.is_valid(before)).sum())
    repaired = _repair(before)
    area_m2 = float(shapely.area(repaired).sum())
    changed_m2 = float(np.abs(shapely.area(repaired) - shapely.area(before)).sum())
    if not area_m2:
        raise IngestError(f"{path} has only polygons without an area; draw some, or take the file away.")
    if changed_m2 > settings.area_change_max_frac * area_m2:
        raise IngestError(
            f"{path} has {broken} invalid polygons of {len(table)}, and repairing them changes the mapped area by"
            f" {changed_m2 / area_m2:.1%}, more than the {settings.area_change_max_frac:.1%} of"
            " ingest.area_change_max_frac; repair them by hand."
        )
    if broken:
        findings.append(
            f"{path.name}: {broken} of {len(table)} polygons were invalid and were repaired,"
            f" which changed the mapped area by {changed_m2 / area_m2:.2%}."
        )
    classes = _classes(table, path)
    ids = _ids(table)
    inside = (shapely.area(repaired) > 0) & shapely.intersects(repaired, image.extent.geom)
    if not inside.any():
        raise IngestError(f"{path} has no polygon where the image lies; check its CRS, or take the file away.")
    if not inside.all():
        left_out = f"{int((~inside).sum())} of {len(table)} polygons lie outside the image"
        findings.append(f"{path.name}: {left_out} and were left out.")
    kept = gpd.GeoDataFrame(
        {"id": ids[inside], "class": classes[inside], "area_m2": np.round(shapely.area(repaired[inside]), 3)},
        geometry=repaired[inside], crs=_crs(image).proj,
    )  # fmt: skip
    extent = None
    if extent_path is not None:
        extent = shapely.union_all(_repair(_polygons(extent_path, _crs(image)).geometry.values))
        if not extent.intersects(image.extent.geom):
            raise IngestError(f"{extent_path} does not overlap the image; check its CRS, or take the file away.")
    facts = {
        "file": path.name, "n": len(kept), "repaired": broken, "area_change_frac": changed_m2 / area_m2,
        "outside": int((~inside).sum()), "area_m2": float(kept["area_m2"].sum()), "labelled_extent": extent is not None,
    }  # fmt: skip
    return Inventory(kept, tuple(sorted(set(kept["class"]))), extent, facts), findings


def _classes(table: gpd.GeoDataFrame, path: Path) -> npt.NDArray[Any]:
    """The class name of every polygon."""
    columns = [c for c in table.columns if c.lower() == "class"]
    if not columns:
        return np.full(len(table), DEFAULT_CLASS, object)
    column = table[columns[0]]
    column = column.astype("string").str.strip().replace("", pd.NA) if column.dtype.kind == "O" else column
    bare = int(column.isna().sum())
    if bare:
        raise IngestError(f"{path} has {bare} polygons without a class; fill the column '{columns[0]}', or remove it.")
    names = np.array([str(name) for name in column], dtype=object)
    many = len(set(names))
    spelt: dict[str, str] = {}
    for name in sorted(set(names)):
        if (other := spelt.setdefault(name.casefold(), name)) != name:
            raise IngestError(
                f"{path} has the classes '{other}' and '{name}' in its column '{columns[0]}'; write both the same way."
            )
    if many >= UNKNOWN:
        raise IngestError(f"{path} has {many} classes in its column '{columns[0]}'; give fewer than {UNKNOWN}.")
    return names


def _ids(table: gpd.GeoDataFrame) -> npt.NDArray[np.int64]:
    """The inventory's own whole-number ids if they tell its polygons apart, else 1, 2, 3..."""
    if "id" in table and table["id"].dtype.kind in "iu" and table["id"].is_unique:
        return np.asarray(table["id"], dtype=np.int64)
    return np.arange(1, len(table) + 1)


def label_block(inventory: Inventory, grid: Grid, unknown: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Codes ``(row, column)`` of a block: class index from 1, 0 background, 255 outside the extent or ``unknown``.

    A pixel belongs to the polygon that holds its centre; of overlapping polygons the smallest counts.
    """
    table = inventory.table
    hit = table.iloc[np.sort(table.sindex.query(grid.extent.geom))]
    hit = hit.sort_values("area_m2", ascending=False, kind="stable")
    codes = [inventory.classes.index(name) + 1 for name in hit["class"]]
    labels = np.zeros(grid.shape, np.uint8)
    if codes:
        labels = rasterize(zip(hit.geometry, codes, strict=True), out=labels, transform=grid.affine)
    if inventory.extent is not None:
        inside = rasterize([inventory.extent], out_shape=tuple(grid.shape), transform=grid.affine, dtype="uint8")
        labels[inside == 0] = UNKNOWN
    labels[unknown] = UNKNOWN
    return labels


# ----------------------------------------------------------------------------------------------- the two halves


@dataclass(frozen=True)
class Layer:
    """A raw file with its grid (CRS written as the image's where both mean the same), its target and its names."""

    path: Path
    grid: Grid
    target: Grid
    bands: tuple[Band, ...]


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

    @property
    def grid(self) -> Grid:
        """The image grid."""
        return self.image[0].target


def _needed(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))) or "nothing"
        raise IngestError(f"{path} does not exist (the folder holds {there}); put the file there under this name.")
    return path


READ_AS_MISSING = {"NA", "N/A", "n/a", "nan", "NaN", "None", "NULL", "null"}
"""Names that pandas takes for no name when it reads a table."""


def _folder(folder: Path) -> Path:
    if folder.name in READ_AS_MISSING:
        raise IngestError(
            f"An area called '{folder.name}' would read as missing in every table; call {folder} otherwise."
        )
    if folder.is_dir():
        return folder
    others = sorted(p.name for p in folder.parent.iterdir() if p.is_dir()) if folder.parent.is_dir() else []
    raise IngestError(
        f"{folder} does not exist (the areas there are: {', '.join(others) or 'none'}); make the folder"
        " with optical.tif and dem.tif in it, or correct the name in the list 'areas' of params.yaml."
    )


@dataclass(frozen=True)
class _Read:
    """What is needed of a raw file: a window of it, and within that the part that the image lies on."""

    raw: Raw
    window: Roi
    core: Roi
    elevation: bool = False


def _place(raw: Raw, image: Grid, optical: Path, grow_px: int) -> tuple[Grid, Roi, Roi]:
    """A raw file's grid, in the image's CRS if both mean the same; the window of it to read, and that of the image."""
    try:
        same = _same_place(raw.grid, _crs(image))
        grid = Grid(raw.grid.shape, raw.grid.affine, image.crs) if same else raw.grid
        core, window = _window(image, grid), _window(image, grid, grow_px)
    except ProjError as error:
        raise IngestError(
            f"{raw.path} is in {_name(_crs(raw.grid))}, which has no way to the image's CRS {_name(_crs(image))};"
            " check the CRS of both files."
        ) from error
    if core is None or window is None:
        raise _elsewhere(raw.path, optical)
    return grid, window, core


def _elsewhere(path: Path, optical: Path) -> IngestError:
    return IngestError(f"{path} does not overlap {optical}; check the CRS of both, or give files of the same ground.")


def _covered_frac(grid: Grid, image: Grid) -> float:
    """Share of the image's rectangle that a raster's rectangle covers."""
    footprint = shapely.Polygon(np.column_stack(_outline(grid, _crs(image))))
    return float(shapely.area(footprint.intersection(image.extent.geom)) / image.extent.geom.area)


def _outline(grid: Grid, crs: CRS, points: int = 17) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    x, y = (a.reshape(points, points) for a in _lattice(grid, crs, points))
    ring = [np.concatenate([a[0], a[1:, -1], a[-1, -2::-1], a[-2:0:-1, 0]]) for a in (x, y)]
    return ring[0], ring[1]


def _elevation_layer(dem: Raw, image: Grid, optical: Path, settings: IngestSettings) -> tuple[Layer, _Read, list[str]]:
    """Where a DEM goes: its own pixels if they lie north-up in the image's CRS, else such pixels of its resolution."""
    if len(dem.bands) != 1:
        raise IngestError(f"{dem.path} has {len(dem.bands)} bands; give the elevations as a file of one band.")
    _check_unit(dem)
    grid, window, core = _place(dem, image, optical, settings.dem_margin_px + 3)
    findings = []
    if grid.crs == image.crs and _is_north_up(grid):
        target = grid
    else:
        target = _north_up(grid[window], _crs(image))
        what = "is on a rotated grid"
        if grid.crs != image.crs:
            what = "is geographic" if _crs(grid).geographic else "has another CRS"
        where = f"{_name(_crs(image))} with pixels of {_pixel(target):.4g} m"
        findings.append(f"{dem.path.name} {what} ({_name(_crs(grid))}) and was projected to {where}.")
    crop = _window(image, target, settings.dem_margin_px)
    if crop is None:
        raise _elsewhere(dem.path, optical)
    layer = Layer(dem.path, grid, target[crop], (Band("elevation", "m"),))
    if (covered := _covered_frac(layer.target, image)) < 0.9995:
        findings.append(f"{dem.path.name} covers {covered:.1%} of the image; the rest has no terrain.")
    return layer, _Read(dem, window, core, elevation=True), findings


def survey(folder: Path, settings: IngestSettings, progress: Progress = lambda done, total: None) -> Plan:
    """Check the raw files of the area in ``folder``, each by itself and all together; writes nothing.

    Raises `IngestError` (or `VectorError` for a vector file that GDAL cannot read) with one sentence that names the
    file, what is wrong with it and what to do.
    """
    _folder(folder)
    optical_path, dem_path = _needed(folder, "optical.tif"), _needed(folder, "dem.tif")
    reference_path = folder / "reference_dem.tif"
    taken = {optical_path, dem_path, reference_path}
    rasters = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".tif", ".tiff") and p.name[0] != "."]
    findings: list[str] = []
    reads: list[_Read] = []
    with ExitStack() as stack:
        optical = stack.enter_context(Raw(optical_path, len(settings.optical_bands)))
        bands, finding = _optical_bands(optical, settings)
        image, moved = _image_grid(optical, settings)
        findings += [sentence for sentence in (finding, moved) if sentence]
        grid = Grid(optical.grid.shape, optical.grid.affine, optical.grid.crs)
        layers = [Layer(optical_path, grid, image, bands)]
        whole = slice(0, grid.shape[0]), slice(0, grid.shape[1])
        reads.append(_Read(optical, whole, whole))
        for path in rasters:
            if path not in taken:
                raw = stack.enter_context(Raw(path))
                grid, window, core = _place(raw, image, optical_path, 3)
                layers.append(Layer(path, grid, image, _further_bands(raw)))
                reads.append(_Read(raw, window, core))
        elevations = {}
        for path in (dem_path, reference_path):
            if path.exists():
                raw = stack.enter_context(Raw(path, 1))
                elevations[path.stem], read, told = _elevation_layer(raw, image, optical_path, settings)
                findings += told
                reads.append(read)
        _check_names(layers)
        inventory, told = _survey_vectors(folder, image, settings)
        findings += told
        total = sum(_count_blocks([span.stop - span.start for span in read.window]) for read in reads)
        done = iter(range(1, total + 1))
        for read in reads:
            _check_values(read.raw, read.window, read.core, read.elevation, lambda: progress(next(done), total))
    resampled = [a.path.name for a in (*layers, *elevations.values()) if _offset_px(a.grid, a.target) is None]
    return Plan(folder.name, tuple(layers), elevations, inventory, tuple(findings), tuple(resampled))


def _count_blocks(shape: Any) -> int:
    return sum(1 for _ in raster.blocks(shape))


def _check_names(layers: Sequence[Layer]) -> None:
    seen: dict[str, Path] = {}
    for layer in layers:
        for band in layer.bands:
            if band.name in seen:
                raise IngestError(
                    f"{layer.path} has a band '{band.name}', and so has {seen[band.name]}; rename one,"
                    f" as in `rio edit-info --bidx 1 --description other_name {layer.path}`."
                )
            seen[band.name] = layer.path


def _survey_vectors(folder: Path, image: Grid, settings: IngestSettings) -> tuple[Inventory | None, list[str]]:
    path, extent_path = _vector_file(folder, "landslides"), _vector_file(folder, "labelled_extent")
    inventory: Inventory | None = None
    findings: list[str] = []
    if path is not None:
        inventory, findings = _inventory(path, extent_path, image, settings)
    else:
        missing = "There is no inventory (landslides.gpkg, .shp or .geojson)"
        findings.append(f"{missing}; the area is mapped, but not trained on or scored.")
        if extent_path is not None:
            findings.append(f"{extent_path.name} is not used, because there is no inventory.")
    others = [
        p.name for p in sorted(folder.iterdir()) if p.suffix.lower() in VECTOR_SUFFIXES and p not in (path, extent_path)
    ]
    if others:
        findings.append(f"{', '.join(others)}: not used, because only landslides and labelled_extent are read.")
    return inventory, findings


def write(plan: Plan, out: Path, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Write what `survey` planned into the folder ``out``; returns the facts of the area.

    image.tif, dem.tif and, if there is one, reference_dem.tif; with an inventory also landslides.gpkg and labels.tif.
    """
    targets = [plan.grid, *(layer.target for layer in plan.elevations.values())]
    total = sum(_count_blocks(grid.shape) for grid in targets)
    done = iter(range(1, total + 1))

    def tick() -> None:
        progress(next(done), total)

    counts = _write_image(plan, out, tick)
    valid_frac = {"image": counts["seen"] / math.prod(plan.grid.shape)}
    for name, layer in plan.elevations.items():
        valid_frac[name] = _write_elevation(layer, out / f"{name}.tif", tick)
    facts: dict[str, Any] = {
        "area": plan.area,
        "crs": _crs(plan.grid).proj.to_wkt(),
        "crs_name": _name(_crs(plan.grid)),
        "pixel_m": _pixel(plan.grid),
        "stretch_frac": _stretch_frac(plan.grid),
        "dem_pixel_m": _pixel(plan.elevations["dem"].target),
        "shape": list(plan.grid.shape),
        "transform": list(plan.grid.affine)[:6],
        "bands": [{"name": band.name, "unit": band.unit} for layer in plan.image for band in layer.bands],
        "valid_frac": valid_frac,
        "classes": [],
        "inventory": None,
        "findings": list(plan.findings),
        "reprojected": list(plan.reprojected),
    }
    if plan.inventory is not None:
        vector.write(out / "landslides.gpkg", plan.inventory.table)
        facts["classes"] = list(plan.inventory.classes)
        known = counts["background"] + counts["landslide"]
        facts["inventory"] = plan.inventory.facts | {
            "unknown_frac": 1 - known / math.prod(plan.grid.shape),
            "landslide_frac": counts["landslide"] / known if known else 0.0,
        }
    return facts


def _write_image(plan: Plan, out: Path, tick: Callable[[], None]) -> dict[str, int]:
    """image.tif and, with an inventory, labels.tif; returns how many pixels have an image and each kind of label."""
    counts = {"seen": 0, "background": 0, "landslide": 0}
    bands = [band for layer in plan.image for band in layer.bands]
    optical = len(plan.image[0].bands)
    zooms = [_zoom(layer.grid, layer.target) for layer in plan.image]
    with ExitStack() as stack:
        raws = [stack.enter_context(Raw(layer.path, len(layer.bands))) for layer in plan.image]
        image = stack.enter_context(raster.create(out / "image.tif", plan.grid, bands))
        labels = None
        if plan.inventory is not None:
            label_file = raster.create(out / "labels.tif", plan.grid, [Band("label")], "uint8", UNKNOWN)
            labels = stack.enter_context(label_file)
        for roi in raster.blocks(plan.grid.shape):
            block = plan.grid[roi]
            parts = zip(raws, plan.image, zooms, strict=True)
            values = np.concatenate([read_onto(r, layer.grid, block, Resampling.bilinear, z) for r, layer, z in parts])
            image.write(values, roi)
            blind = np.isnan(values[:optical]).all(axis=0)
            counts["seen"] += int((~blind).sum())
            if labels is not None and plan.inventory is not None:
                codes = label_block(plan.inventory, block, blind)
                counts["background"] += int((codes == 0).sum())
                counts["landslide"] += int(((codes > 0) & (codes < UNKNOWN)).sum())
                labels.write(codes[None], roi)
            tick()
    return counts


def _write_elevation(layer: Layer, path: Path, tick: Callable[[], None]) -> float:
    """A DEM on its target grid; returns the share of pixels with an elevation."""
    valid, zoom = 0, _zoom(layer.grid, layer.target)
    with Raw(layer.path, 1) as raw, raster.create(path, layer.target, layer.bands) as sink:
        for roi in raster.blocks(layer.target.shape):
            # Cubic, because the next stages differentiate it: half a pixel off, bilinear takes 13 % from a form six pixels
            # long, cubic 3 %.
            values = read_onto(raw, layer.grid, layer.target[roi], Resampling.cubic, zoom)
            valid += int(np.isfinite(values).sum())
            sink.write(values, roi)
            tick()
    return valid / math.prod(layer.target.shape)
