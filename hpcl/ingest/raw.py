"""Raw rasters: any type, any mark of nodata, any axes; one way to read them all."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from hpcl.ingest.grids import horizontal, name_of
from hpcl.ingest.settings import Floats, IngestError
from hpcl.raster import Band, Grid, Roi


class Raw:
    """A raw raster, open: any type, any mark of nodata, any axes. Use as a context manager.

    ``grid`` has the horizontal part of the file's CRS; ``bands`` leaves an alpha band out, which is a mask.
    Raises `IngestError` for a file that cannot be opened or does not say where it lies.
    """

    def __init__(self, path: Path, expected_bands: int | None = None, roll: tuple[int, int] | None = None) -> None:
        """Open ``path``; ``expected_bands`` tells an alpha band from a fourth band of data (see `_alpha`), ``roll`` see there."""
        self.path = path
        self._roll: tuple[int, int] | None = None
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
            self.grid = Grid(self._file.shape, self._file.transform, horizontal(self.crs))
        except BaseException:
            self._file.close()
            raise
        if roll is not None:
            self.roll(*roll)
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
        if not (horizontal(crs).projected or horizontal(crs).geographic):
            raise IngestError(
                f"{self.path} has the local coordinate system '{crs.name}', which no map knows; set the one it lies in,"
                f" as in `rio edit-info --crs EPSG:32648 {self.path}`."
            )
        if self._file.transform.is_identity:
            raise IngestError(
                f"{self.path} has a coordinate reference system but no position in it; georeference it"
                " (gdalwarp does it from control points) and put the result there."
            )
        if horizontal(crs).geographic:
            x, y = np.abs(
                np.array(self._file.transform * (np.array([0, self._file.width]), np.array([0, self._file.height])))
            )
            if x.max() > 361 or y.max() > 91:
                raise IngestError(
                    f"{self.path} has the geographic CRS {name_of(horizontal(crs))}, but its coordinates ({x[0]:.6g}, {y[0]:.6g})"
                    f" are no degrees; set the CRS it was made in, as in `rio edit-info --crs EPSG:32648 {self.path}`."
                )
        return crs

    def roll(self, first: int, columns: int) -> None:
        """Read a raster that goes round the globe as ``columns``, a full turn, from column ``first`` of the file on."""
        self._roll = first, columns
        affine = self.grid.affine * Affine.translation(first, 0)
        self.grid = Grid((self.grid.shape[0], columns), affine, self.grid.crs)

    def __enter__(self) -> Raw:
        """The open file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def read_native(self, roi: Roi) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Stored numbers of a window inside the grid and whether each is data, both ``(band, row, column)``."""
        if self._roll is None:
            return self._read_file(roi)
        first, turn = self._roll
        rows, columns = roi
        shape = len(self._indexes), rows.stop - rows.start, columns.stop - columns.start
        values, valid = np.zeros(shape, self.dtype), np.zeros(shape, bool)
        at = columns.start
        while at < columns.stop:  # up to the seam of the file, and from there on
            column = (at + first) % turn
            wide = min(columns.stop - at, turn - column)
            known = min(wide, self._file.width - column)
            if known > 0:
                part = slice(at - columns.start, at - columns.start + known)
                values[..., part], valid[..., part] = self._read_file((rows, slice(column, column + known)))
            at += wide
        return values, valid

    def _read_file(self, roi: Roi) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
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
