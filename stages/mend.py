"""Mend a raw raster in place, as the sentences of ingest say: nodata, CRS, names, a rim, control points.

For what `rio edit-info` cannot do; `python -m stages.mend --help` lists it.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hpcl.ingest import mend


def main() -> None:
    """Read the command line, mend, say what was done."""
    parser = argparse.ArgumentParser(prog="python -m stages.mend", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--nodata", type=float, help="the number that means no data")
    parser.add_argument("--crs", help="the coordinate reference system, as in EPSG:32648")
    parser.add_argument("--bidx", type=int, default=1, help="the band that --units and --description are of")
    parser.add_argument("--units", help="the unit of a band")
    parser.add_argument("--description", help="the name of a band")
    parser.add_argument("--rim", type=float, metavar="CODE", help="mark as nodata what is CODE along the edge")
    parser.add_argument("--within", type=float, default=0.0, help="how far from CODE the rim may be (JPEG: 10)")
    parser.add_argument("--take-in", action="store_true", help="write into the file what its .aux.xml says")
    parser.add_argument("--number", type=float, metavar="CODE", help="make CODE the nodata number that is declared")
    parser.add_argument("--scale", type=float, help="stored numbers times this are values (0.001: millimetres)")
    parser.add_argument("--georeference", action="store_true", help="warp by control points or by camera model")
    parser.add_argument("--dem", type=Path, help="the elevations that a camera model needs")
    given = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # such files are what is mended here
    try:
        if given.georeference:
            print(mend.georeference(given.file, given.crs, given.dem))
        elif given.take_in:
            mend.take_in(given.file)
            print(f"{given.file} says now what {given.file.name}.aux.xml said.")
        elif given.number is not None:
            print(f"{given.file}: {mend.mark_number(given.file, given.number):.2%} of its numbers became nodata.")
        elif given.scale is not None:
            mend.set_scale(given.file, given.scale)
            print(f"{given.file} was changed.")
        elif given.rim is not None:
            print(
                f"{given.file}: {mend.mark_rim(given.file, given.rim, given.within):.2%} of its pixels became nodata."
            )
        else:
            mend.edit(
                given.file,
                nodata=given.nodata,
                crs=given.crs,
                bidx=given.bidx,
                units=given.units,
                text=given.description,
            )
            print(f"{given.file} was changed.")
    except (mend.MendError, RasterioError, OSError, ValueError) as error:
        sys.exit(f"mend: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
