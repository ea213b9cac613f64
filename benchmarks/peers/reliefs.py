"""Slope and hillshade of one DEM, as other libraries do it: `python reliefs.py <library> <folder>`, in their environment.

From ``dem.tif`` to one compressed, tiled GeoTIFF for each. Both libraries hold the DEM in memory.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from told import tell

OPTIONS = {"compress": "deflate", "zlevel": 1, "predictor": 3, "tiled": True, "blockxsize": 512, "blockysize": 512}


def xdem(dem: Path, out: Path) -> None:
    """xDEM, both attributes in one call."""
    import xdem as library

    surface = library.DEM(str(dem))
    for name, found in zip(("slope", "hillshade"), surface.get_terrain_attribute(["slope", "hillshade"]), strict=True):
        found.to_file(out / f"xdem_{name}.tif", co_opts={key.upper(): str(value) for key, value in OPTIONS.items()})


def xarray_spatial(dem: Path, out: Path) -> None:
    """xarray-spatial, with rioxarray to read and write."""
    import rioxarray
    import xrspatial

    surface = rioxarray.open_rasterio(dem, masked=True).squeeze("band", drop=True)
    for name in ("slope", "hillshade"):
        getattr(xrspatial, name)(surface).rio.write_crs(surface.rio.crs).rio.to_raster(
            out / f"xarray_spatial_{name}.tif", **OPTIONS
        )


def main(library: str, folder: Path) -> None:
    """Derive both with a library, and tell what it cost."""
    warnings.simplefilter("ignore")  # of libraries that are guests here
    derive: Callable[[Path, Path], None] = {"xdem": xdem, "xarray_spatial": xarray_spatial}[library]
    tell(lambda: derive(folder / "small.tif", folder), lambda: derive(folder / "dem.tif", folder))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
