"""Raw rasters: any type, any mark of nodata, any axes; one way to read them all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from rasterio.enums import ColorInterp, Compression, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpcl.geo.raster import Band, Grid, Roi
from hpcl.ingest import remedies
from hpcl.ingest.grids import horizontal, name_of
from hpcl.ingest.opening import gdal_words, open_raster
from hpcl.ingest.settings import Floats, IngestError

MASK_FRAC = 0.9
"""An alpha band is either 0 or its maximum, but for a feathered rim: this share of what is not 0 is the maximum. In a band
of an image so much is saturated in none."""
SAMPLES, SAMPLE_PX = 64, (16, 512)
"""Windows (row, column) that are looked at to tell an alpha band: few rows, because a row of a file in strips is read whole."""


class Raw:
    """A raw raster, open: any type, any mark of nodata, any axes. Use as a context manager.

    ``grid`` has the horizontal part of the file's CRS; ``bands`` leaves alpha bands out, which are masks (``alphas`` has
    their numbers in the file), and ``colours`` has what the file says of the colour of each band. A band of indices into a
    palette reads as the three bands that it stands for (``palette``), unless it holds elevations.
    Raises `IngestError` for a file that cannot be opened or does not say where it lies.
    """

    def __init__(self, path: Path, elevation: bool = False, roll: tuple[int, int] | None = None) -> None:
        """Open ``path``; in a file of ``elevation`` a palette is for display only; ``roll`` see there."""
        self.path = path
        self._roll: tuple[int, int] | None = None
        self._file = open_raster(path)
        try:
            self.crs = self._full_crs()
            self.grid = Grid(self._file.shape, self._file.transform, horizontal(self.crs))
            self.alphas = [i for i in self._file.indexes if self._is_alpha(i)]
        except BaseException:
            self._file.close()
            raise
        if roll is not None:
            self.roll(*roll)
        self._indexes = [i for i in self._file.indexes if i not in self.alphas]
        at = [i - 1 for i in self._indexes]
        self.bands = tuple(Band(_name(self._file.descriptions[i]), self._file.units[i] or "") for i in at)
        self.colours = tuple(self._file.colorinterp[i] for i in at)
        self._scales = np.array([self._file.scales[i] for i in at])[:, None, None]
        self._offsets = np.array([self._file.offsets[i] for i in at])[:, None, None]
        self.dtype = np.dtype(self._file.dtypes[at[0]] if at else "uint8")
        if self.dtype.kind not in "iuf":
            self._file.close()
            raise IngestError(
                f"{path} holds numbers of type {self.dtype}; give real ones (of a radar image, the amplitude)."
            )
        self._nodata = [self._file.nodatavals[i] for i in at]
        self.palette = None if elevation or self.colours != (ColorInterp.palette,) else self._read_palette()
        if self.palette is not None:
            self.bands, self.dtype = (Band("", ""),) * 3, np.dtype("uint8")
            self.colours = ColorInterp.red, ColorInterp.green, ColorInterp.blue
            self._scales, self._offsets = np.ones(1), np.zeros(1)
        # A mask of its own, beside the bands. GDAL's masks are not asked else: they take any fourth band for one.
        flags = [self._file.mask_flag_enums[i] for i in at]
        self._masked = any(MaskFlags.per_dataset in flag and MaskFlags.alpha not in flag for flag in flags)
        self.has_other_marks = self._masked or bool(self.alphas) or self.palette is not None

    @property
    def nodata(self) -> float | None:
        """The nodata number that the file declares, if its type can hold it."""
        number = self._nodata[0]
        if number is None or self.dtype.kind == "f":
            return number
        info = np.iinfo(self.dtype)
        return number if float(number).is_integer() and info.min <= number <= info.max else None

    @property
    def scaling(self) -> tuple[float, float]:
        """Scale and offset from stored numbers of the first band to its values."""
        return float(self._scales.flat[0]), float(self._offsets.flat[0])

    @property
    def lossy(self) -> bool:
        """Whether the file's compression changes numbers, as JPEG does."""
        return self._file.compression in (Compression.jpeg, Compression.webp, Compression.jpeg2000)

    def _is_alpha(self, index: int) -> bool:
        """Whether a band beside others is a mask, by what the file calls it and by its values.

        GDAL calls the fourth band of any 8-bit file alpha, and no band of a 16-bit file unless the writer says so.
        """
        named = _name(self._file.descriptions[index - 1])
        colour = self._file.colorinterp[index - 1]
        called = named.lower() in ("alpha", "mask") or (not named and colour == ColorInterp.alpha)
        unsaid = not named and colour == ColorInterp.undefined and index == self._file.count
        if self._file.count == 1 or not (called or unsaid):
            return False
        highest, at_highest, seen = 0.0, 0, 0
        for values in self._samples(index):
            values = values[values != 0]
            if values.size:
                high = float(values.max())
                highest, at_highest = (high, 0) if high > highest else (highest, at_highest)
                at_highest += int((values == highest).sum())
                seen += values.size
        if unsaid:  # the numbers alone must say it
            whole = (
                np.iinfo(self._file.dtypes[index - 1]).max if self._file.dtypes[index - 1].startswith("uint") else None
            )
            return seen > 0 and highest == whole and at_highest == seen
        return seen > 0 and at_highest >= MASK_FRAC * seen

    def _samples(self, index: int) -> Iterator[npt.NDArray[Any]]:
        """Windows of a band, spread evenly over the file."""
        side = math.isqrt(SAMPLES)
        spans = []
        for size, sample in zip(self._file.shape, SAMPLE_PX, strict=True):
            count = min(side, -(-size // sample))
            starts = np.linspace(0, max(size - sample, 0), count).astype(int)
            spans.append([slice(int(start), min(int(start) + sample, size)) for start in starts])
        for rows in spans[0]:
            for columns in spans[1]:
                yield self._read(index, Window.from_slices(rows, columns))

    def _read_palette(self) -> npt.NDArray[np.uint8]:
        """Red, green, blue and opacity ``(4, index)`` of every number that the band can hold; what has no entry is opaque 0."""
        entries = self._file.colormap(self._indexes[0])
        table = np.zeros((4, np.iinfo(self.dtype).max + 1), np.uint8)
        table[3] = 255
        for index, colour in entries.items():
            table[:, index] = colour
        return table

    def _full_crs(self) -> pyproj.CRS:
        gcps, gcps_crs = self._file.gcps
        if gcps and self._file.transform.is_identity:
            options = () if gcps_crs else ("--crs", "EPSG:32648")
            raise IngestError(
                f"{self.path} is placed by {len(gcps)} control points alone{'' if gcps_crs else ', of an unknown CRS'}; warp it"
                f" to where they put it, as in `{remedies.georeference(self.path, *options)}`."
            )
        if self._file.rpcs and self._file.transform.is_identity:
            dem = str(self.path.with_name("dem.tif"))
            raise IngestError(
                f"{self.path} is placed by a camera model (RPC) alone; warp it over the elevations, as in"
                f" `{remedies.georeference(self.path, '--dem', dem)}`."
            )
        if self._file.crs is None:
            raise IngestError(
                f"{self.path} has no coordinate reference system; find out which one it was made in and"
                f" set it, as in `{remedies.edit_info(self.path, '--crs', 'EPSG:32648')}`."
            )
        crs = pyproj.CRS(self._file.crs.to_wkt())
        if not (horizontal(crs).projected or horizontal(crs).geographic):
            raise IngestError(
                f"{self.path} has the local coordinate system '{crs.name}', which no map knows; set the one it lies in,"
                f" as in `{remedies.edit_info(self.path, '--crs', 'EPSG:32648')}`."
            )
        if self._file.transform.is_identity:
            raise IngestError(
                f"{self.path} has a coordinate reference system but no position in it; georeference it"
                " in a GIS and put the result there."
            )
        if horizontal(crs).geographic:
            x, y = np.abs(
                np.array(self._file.transform * (np.array([0, self._file.width]), np.array([0, self._file.height])))
            )
            if x.max() > 361 or y.max() > 91:
                raise IngestError(
                    f"{self.path} has the geographic CRS {name_of(horizontal(crs))}, but its coordinates ({x[0]:.6g}, {y[0]:.6g})"
                    f" are no degrees; set the CRS it was made in, as in"
                    f" `{remedies.edit_info(self.path, '--crs', 'EPSG:32648')}`."
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
        shape = len(self.bands), rows.stop - rows.start, columns.stop - columns.start
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
        values = self._read(self._indexes, window)
        valid = np.isfinite(values)
        for layer, nodata in enumerate(self._nodata):
            if nodata is not None and not math.isnan(nodata):
                with np.errstate(over="ignore"):  # a nodata number that the type cannot hold is nowhere
                    valid[layer] &= values[layer] != nodata
        if self._masked:
            valid &= self._read(self._indexes, window, masks=True) > 0
        for alpha in self.alphas:
            valid &= self._read(alpha, window) > 0
        if self.palette is not None:
            valid = np.repeat(valid & (self.palette[3, values] > 0), 3, axis=0)
            values = self.palette[:3, values[0]]
        return values, valid

    def _read(self, indexes: Any, window: Window, masks: bool = False) -> npt.NDArray[Any]:
        try:
            read: npt.NDArray[Any] = (self._file.read_masks if masks else self._file.read)(indexes, window=window)
        except RasterioError as error:
            raise IngestError(
                f"{self.path} breaks off while it is read (truncated?); copy the file again (GDAL says: {gdal_words(error)})."
            ) from error
        return read

    def read(self, roi: Roi) -> Floats:
        """Values of a window, scaled as the file says, NaN where there is no data, also beyond the edge of the grid."""
        height, width = self.grid.shape
        rows, columns = roi
        out = np.full((len(self.bands), rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
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


GENERIC = re.compile(
    r"(?:band[ea]?|layer|lyr|channel|canal|kanal|raster|image|unnamed)?[\s_.:#-]*\(?\d*\)?|b[\s_.:#-]+\d+",
    re.IGNORECASE,
)
"""What programs call a band that nobody named: Band_1, Layer_1, band 2, lyr.3. B2 and B8A are names of Sentinel's."""


def _name(description: str | None) -> str:
    """What somebody called a band; empty if a program did."""
    stripped = (description or "").strip()
    return "" if GENERIC.fullmatch(stripped) else stripped


def _clip(span: slice, size: int) -> slice | None:
    start, stop = max(span.start, 0), min(span.stop, size)
    return slice(start, stop) if start < stop else None
