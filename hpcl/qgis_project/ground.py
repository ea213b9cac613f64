"""How the project shows the area's rasters and the outlines that are only looked at."""

from __future__ import annotations

import numpy as np

from hpcl import qgis, sensors
from hpcl.geo import raster

SEEN_PX = 1000
"""A side of the overview from which a raster's dark, bright and largest values are taken."""
COLOURS = ("red", "green", "blue")


def pipe(renderer: str) -> str:
    """A raster drawn by a renderer."""
    return f"<pipe>{renderer}</pipe>"


def image(source: raster.Source) -> str:
    """An image in natural colours; without them the first three bands, or the first as grey."""
    shown = sensors.shown([band.name for band in source.bands], abs(source.grid.affine.a))
    if len(shown) < len(COLOURS):
        return grey(source, shown[0])
    bands = dict(zip(COLOURS, shown, strict=True))
    numbers = " ".join(f'{colour}Band="{_number(source, name)}"' for colour, name in bands.items())
    stretched = "".join(_stretch(source, name, f"{colour}ContrastEnhancement") for colour, name in bands.items())
    return f'<rasterrenderer type="multibandcolor" {numbers} opacity="1">{stretched}</rasterrenderer>'


def grey(source: raster.Source, name: str) -> str:
    """One band from dark to bright."""
    stretched = _stretch(source, name, "contrastEnhancement")  # first: it refuses a band that is not there
    return (
        f'<rasterrenderer type="singlebandgray" grayBand="{_number(source, name)}" gradient="BlackToWhite" opacity="1">'
        f"{stretched}</rasterrenderer>"
    )


def _stretch(source: raster.Source, name: str, element: str) -> str:
    low, high = _percentiles(source, name, 2, 98)
    return (
        f"<{element}><minValue>{low:.6g}</minValue><maxValue>{high if high > low else low + 1:.6g}</maxValue>"
        f"<algorithm>StretchToMinimumMaximum</algorithm></{element}>"
    )


def hillshade(source: raster.Source) -> str:
    """The band of that name of a terrain."""
    return grey(source, "hillshade")


def probability(source: raster.Source) -> str:
    """From 0, which hides nothing, to 1."""
    return qgis.pseudocolour(_number(source, "probability"), qgis.RAMP, clear=True)


def uncertainty(source: raster.Source) -> str:
    """From none to the most, leaving out a few pixels that are far above the others, as the browser's page does."""
    (top,) = _percentiles(source, "uncertainty", 99.5)
    top = float(f"{top:.2g}") or 1.0
    last = len(qgis.CIVIDIS) - 1
    colours = [(top * step / last, colour) for step, colour in enumerate(qgis.CIVIDIS)]
    return qgis.pseudocolour(_number(source, "uncertainty"), colours)


def _number(source: raster.Source, name: str) -> int:
    """Of a band, as QGIS counts."""
    return 1 + [band.name for band in source.bands].index(name)


def _percentiles(source: raster.Source, name: str, *percents: float) -> list[float]:
    values = source.thumbnail(SEEN_PX, [name])
    known = values[np.isfinite(values)]
    return [float(value) for value in np.percentile(known, percents)] if known.size else [0.0] * len(percents)


def outlines(colour: str) -> str:
    """Polygons of one kind, light-edged to be seen on dark ground as well."""
    lines = [("#ffffff", 0.9, "solid"), (colour, 0.5, "solid")]
    return (
        f'<renderer-v2 type="singleSymbol" symbollevels="0"><symbols>{qgis.symbol("0", lines)}</symbols></renderer-v2>'
    )
