"""Layers on another grid: the one place that asks GDAL to resample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from hpcl.raster import Grid


def resample(
    values: npt.NDArray[Any], source: Grid, target: Grid, how: Resampling, zoom: float
) -> npt.NDArray[np.float32]:
    """Layers ``(band, row, column)`` on ``source``, NaN where unknown, brought onto ``target``.

    GDAL's kernel weighs what is known alone, each layer by itself. ``zoom`` is how many pixels of the target lie along one
    of the source where there are fewer, else 1: it must be the same for all blocks of a grid. Positions are right to
    1e-4 pixel.
    """
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": "float32"}
    # Not rasterio.warp.reproject: whatever it is told, its transformer is up to .125 pixel off, and alignment sees that.
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", crs=str(source.crs), transform=source.affine, nodata=np.nan, **shape) as file:
            file.write(values)
        with (
            memory.open() as file,
            WarpedVRT(
                file, crs=str(target.crs), transform=target.affine, height=target.shape[0], width=target.shape[1],
                resampling=how, src_nodata=np.nan, nodata=np.nan,
                tolerance=1e-4,            # pixels
                XSCALE=zoom, YSCALE=zoom,  # else guessed from the sizes of windows: a rotated grid would be blurred
                UNIFIED_SRC_NODATA="NO",   # else a hole in one layer is data as long as another layer has some
            ) as warped,
        ):  # fmt: skip
            out: npt.NDArray[np.float32] = warped.read()
    return out
