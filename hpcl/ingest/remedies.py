"""Commands that mend a raw raster, as sentences print them: each works on the very file that it is printed for.

`rio` comes with rasterio. Where it cannot do something, `python -m stages.mend` does: change a Cloud-Optimised
GeoTIFF (GDAL refuses, to keep its layout), warp by a camera model, mark a rim as nodata beside another mark.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError

MEND = "python -m stages.mend"


def edit_info(path: Path, *options: str) -> str:
    """Set what a file says of itself: ``edit_info(path, "--nodata", "0")``; also --crs, --bidx with --units or
    --description."""
    if _rio_edits(path):
        return shlex.join(["rio", "edit-info", *options, str(path)])
    # With equality signs, for argparse takes -3e38 for an option.
    pairs = [f"{name}={value}" for name, value in zip(options[::2], options[1::2], strict=True)]
    return f"{MEND} {shlex.join([*pairs, str(path)])}"


def mark_rim(path: Path, code: float, within: float = 0) -> str:
    """Mark as nodata what is ``code`` (give or take ``within``) in all bands and hangs together with the edge of the file,
    or with what is nodata already; whatever nodata, mask or alpha the file declares."""
    near = [f"--within={within:.9g}"] if within else []
    return f"{MEND} {shlex.join([f'--rim={code:.9g}', *near, str(path)])}"


def take_in(path: Path) -> str:
    """Write into a file what the .aux.xml beside it says of it."""
    return f"{MEND} {shlex.join(['--take-in', str(path)])}"


def mark_number(path: Path, code: str) -> str:
    """Give pixels that are ``code``, in any band, the nodata number that the file declares."""
    return f"{MEND} {shlex.join([f'--number={code}', str(path)])}"


def scale(path: Path, factor: float) -> str:
    """Say that stored numbers times ``factor`` are values."""
    return f"{MEND} {shlex.join([f'--scale={factor:.9g}', str(path)])}"


def georeference(path: Path, *options: str) -> str:
    """Warp a file to where its control points or its camera model (RPC) put it; the latter needs the area's DEM."""
    return f"{MEND} {shlex.join(['--georeference', *options, str(path)])}"


def as_geotiff(path: Path) -> str:
    """Make one GeoTIFF of whatever GDAL shows under this name."""
    return _in_place(path, ["rio", "convert", "--driver", "GTiff"], [])


def coarser(path: Path, factor: float) -> str:
    """Make the pixels ``factor`` times as large."""
    with rasterio.open(path) as file:
        sides = [f"{abs(side) * factor:.6g}" for side in file.res]
    return _in_place(
        path, ["rio", "warp", "--driver", "GTiff"], ["--res", sides[0], "--res", sides[1], "--resampling", "average"]
    )


def _in_place(path: Path, command: list[str], options: list[str]) -> str:
    new = path.with_name(f"new_{path.name}.part")  # no raster for ingest, if it is left behind
    return f"{shlex.join([*command, str(path), str(new), *options])} && {shlex.join(['mv', str(new), str(path)])}"


def _rio_edits(path: Path) -> bool:
    try:
        with rasterio.open(path) as file:
            return file.driver == "GTiff" and file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG"
    except RasterioError:  # whatever is wrong with it then, the plain command is the one to read about
        return True
