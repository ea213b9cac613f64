"""An area's bands as one raster in the order of the model: a VRT, which is text and refers to the rasters beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from hpcl.geo import raster


def vrt(path: Path, files: Sequence[Path], bands: Sequence[str]) -> bytes:
    """The file at ``path`` that stacks the named ``bands`` of ``files``, which lie on one grid and are float32 with NaN.

    Files are named relative to ``path``, so that the folder of the project can move. It is empty where a band is missing.
    """
    with_bands = []
    for file in files:
        with raster.Source(file) as source:
            with_bands.append((file, source.grid, list(source.bands)))
    grid = raster.common_grid({file: grid for file, grid, _ in with_bands})
    if set(bands) - {band.name for _, _, there in with_bands for band in there}:
        return b""
    rows, columns = grid.shape
    root = ElementTree.Element("VRTDataset", rasterXSize=str(columns), rasterYSize=str(rows))
    affine = grid.affine
    corners = (affine.c, affine.a, affine.b, affine.f, affine.d, affine.e)
    if grid.crs is not None:
        _text(root, "SRS", grid.crs.to_wkt())
    _text(root, "GeoTransform", ", ".join(repr(float(number)) for number in corners))
    for number, name in enumerate(bands, start=1):
        file, there = next((file, there) for file, _, there in with_bands if name in [band.name for band in there])
        place = [band.name for band in there].index(name)
        element = ElementTree.SubElement(root, "VRTRasterBand", dataType="Float32", band=str(number))
        _text(element, "Description", name)
        _text(element, "NoDataValue", "nan")
        if there[place].unit:
            _text(element, "UnitType", there[place].unit)
        simple = ElementTree.SubElement(element, "SimpleSource")
        where = Path(os.path.relpath(file, path.parent)).as_posix()
        _text(simple, "SourceFilename", where, relativeToVRT="1")
        _text(simple, "SourceBand", str(place + 1))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8") + b"\n"


def _text(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text
