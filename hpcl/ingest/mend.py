"""Mend what a raw raster says of itself, in place (the command is stages/mend.py).

For what `rio edit-info` cannot do: files that GDAL does not change in place, nodata along the rim beside another mark of
nodata, and images placed by control points or by a camera model (RPC). The pixels stay as they are but for the rim's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from pyproj import CRS
from rasterio.dtypes import in_dtype_range
from rasterio.enums import ColorInterp, Compression, MaskFlags, Resampling
from rasterio.transform import GCPTransformer
from rasterio.warp import calculate_default_transform, reproject
from scipy.ndimage import binary_propagation

from hpcl.geo import blocks
from hpcl.ingest.raw import Raw

PLAIN = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "compress": "deflate",
    "BIGTIFF": "IF_SAFER",
}


class MendError(ValueError):
    """A raster that cannot be mended as asked; the message says why."""


def _as_geotiff(path: Path) -> None:
    """Write a file of another format again as a GeoTIFF, under its name."""
    with rasterio.open(path) as file:
        plain = file.driver == "GTiff"
    if not plain:
        _replace(path, lambda new: rasterio.shutil.copy(path, new, **PLAIN))


# Six parameters: the file, and the options of `python -m stages.mend` that say something of it.
def edit(path: Path, *, nodata: float | None, crs: str | None, bidx: int, units: str | None, text: str | None) -> None:
    """Set nodata, CRS, or unit and description of band ``bidx``."""
    _as_geotiff(path)
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        if nodata is not None:
            file.nodata = nodata
        if crs is not None:
            file.crs = crs
        if units is not None:
            file.set_band_unit(bidx, units)
        if text is not None:
            file.set_band_description(bidx, text)


def take_in(path: Path) -> None:
    """Write into a file what the .aux.xml beside it says of it."""
    _replace(path, lambda new: rasterio.shutil.copy(path, new, **PLAIN))


def mark_number(path: Path, code: float) -> float:
    """Give pixels that are ``code``, in any band, the nodata number that the file declares; returns their share."""
    _as_geotiff(path)
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        if file.nodata is None:
            raise MendError(f"{path} declares no nodata; declare {code:.9g}, as in --nodata={code:.9g}.")
        changed = 0
        for i in file.indexes:
            for _, window in file.block_windows(i):
                values = file.read(i, window=window)
                with np.errstate(over="ignore"):  # a number that the type cannot hold is nowhere
                    part = values == values.dtype.type(code)
                if part.any():
                    values[part] = file.nodata
                    file.write(values, i, window=window)
                    changed += int(part.sum())
        return float(changed / (file.count * file.height * file.width))


def set_scale(path: Path, factor: float) -> None:
    """Say that stored numbers times ``factor`` are values, in all bands."""
    _as_geotiff(path)
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.scales = [factor] * file.count


def mark_rim(path: Path, code: float, within: float) -> float:
    """Mark the rim as nodata (see `remedies.mark_rim`); returns its share of the file.

    Where the file declares a nodata number that its type holds, the rim gets it; an alpha band becomes 0 there; with
    neither, and where compression is lossy, the file gets a mask. Memory: some bytes a pixel.
    """
    _as_geotiff(path)
    with Raw(path) as raw:  # it knows masks from data: GDAL calls the fourth band of any 8-bit file alpha
        masks = raw.alphas
        fill, gone = (np.zeros(raw.grid.shape, bool) for _ in range(2))
        for at in blocks.walk(raw.grid.shape):
            values, valid = raw.read_native(at)
            fill[at] = (np.abs(values.astype(np.float64) - code) <= within).all(axis=0)
            gone[at] = ~valid.any(axis=0)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file,
    ):
        colours = [i for i in file.indexes if i not in masks]
        windows = [window for _, window in file.block_windows(1)]
        edge = np.ones(file.shape, bool)
        edge[1:-1, 1:-1] = False
        rim = binary_propagation((edge & fill) | gone, mask=fill | gone) & ~gone
        if not rim.any():
            raise MendError(f"{path} is nowhere {code:.9g} in all bands along its edge or beside its nodata.")
        exact = file.compression != Compression.jpeg
        held = exact and file.nodata is not None and in_dtype_range(file.nodata, file.dtypes[0])
        alphas = masks if exact else []
        flags = file.mask_flag_enums[0]
        masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        marks = [(i, file.nodata) for i in colours if held] + [(i, 0) for i in alphas]
        if masked or not marks:
            file.write_mask(np.where(rim | gone, 0, 255).astype(np.uint8))
            return float(rim.mean())
        for window in windows:
            part = rim[window.toslices()]
            for i, value in marks if part.any() else []:
                values = file.read(i, window=window)
                values[part] = value
                file.write(values, i, window=window)
        return float(rim.mean())


def georeference(path: Path, crs: str | None, dem: Path | None) -> str:
    """Warp a raster to where its control points or its camera model put it; returns a sentence about how.

    Control points are met by a polynomial, so the sentence says by how much they are missed. The result has a mask unless
    the file has an alpha band or nodata.
    """
    with rasterio.open(path) as file:
        gcps, gcps_crs = file.gcps
        if gcps:
            source: Any = crs or gcps_crs
            if not source:
                raise MendError(f"{path} has control points of no CRS; say which it is, as in --crs=EPSG:32648.")
            target, how = source, {"gcps": gcps}
            said = f"by {len(gcps)} control points, which it misses by {_misfit(gcps):.3g} units of their CRS (root mean square)"
        elif file.rpcs:
            if dem is None:
                raise MendError(f"{path} has a camera model, which needs elevations; say where, as in --dem=dem.tif.")
            with rasterio.open(dem) as ground:
                source, target = "EPSG:4326", crs or ground.crs
            how = {"rpcs": file.rpcs, "RPC_DEM": str(dem)}
            said = f"by its camera model over {dem}"
        else:
            raise MendError(f"{path} has neither control points nor a camera model; georeference it in a GIS.")
        transform, width, height = calculate_default_transform(source, target, file.width, file.height, **how)
        profile = {**PLAIN, "count": file.count, "dtype": file.dtypes[0], "nodata": file.nodata, "width": width}
        marked = file.nodata is not None or ColorInterp.alpha in file.colorinterp

        def warp(new: Path) -> None:
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(new, "w", height=height, transform=transform, crs=target, **profile) as out,
            ):
                out.colorinterp = file.colorinterp
                out.descriptions, out.units = file.descriptions, file.units
                where = {"src_crs": source, "dst_crs": target, "dst_transform": transform, **how}
                for i in file.indexes:
                    reproject(
                        rasterio.band(file, i), rasterio.band(out, i), resampling=Resampling.bilinear,
                        src_nodata=file.nodata, dst_nodata=file.nodata, **where,
                    )  # fmt: skip
                if not marked:
                    mask = np.zeros((height, width), np.uint8)
                    seen = np.full(file.shape, 255, np.uint8)
                    reproject(seen, mask, resampling=Resampling.nearest, **where)
                    out.write_mask(mask)

        _replace(path, warp)
    return f"{path} was warped to {CRS(target).name} {said}."


def _misfit(gcps: Any) -> float:
    """Root mean square distance of control points from where the polynomial puts them."""
    points: npt.NDArray[Any] = np.array([(p.row, p.col, p.x, p.y) for p in gcps])
    with GCPTransformer(gcps) as transformer:
        x, y = transformer.xy(points[:, 0], points[:, 1], offset="ul")
    return float(np.sqrt(np.mean((np.array(x) - points[:, 2]) ** 2 + (np.array(y) - points[:, 3]) ** 2)))


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write a new file beside ``path`` and put it in its place."""
    new = path.with_name(f".{path.name}.mend")
    try:
        write(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
        new.with_name(f"{new.name}.aux.xml").unlink(missing_ok=True)  # GDAL's, with what no GeoTIFF holds
