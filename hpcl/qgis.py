"""How QGIS shows the maps when they are opened: a style file beside each, of the same name.

`hpcl.qgis_project` and the browser's page use the same colours.
"""

from __future__ import annotations

from collections.abc import Sequence

RAMP = ((0.0, "#fff7ec"), (0.25, "#fdd49e"), (0.5, "#fc8d59"), (0.75, "#d7301f"), (1.0, "#7f0000"))
"""Probability to colour, light to dark, readable in grey (ColorBrewer OrRd)."""
CLASS_COLOURS = ("#f0f0f0", "#d7301f", "#2c7fb8", "#31a354", "#756bb1", "#e6ab02", "#a6761d")
"""Background, then classes in their order; beyond six they repeat."""
INVENTORY = "#332288"
"""As in the report."""
CIVIDIS = ("#00224e", "#2a3f6d", "#575d6d", "#7d7c78", "#a59c74", "#d2c060", "#fee838")
"""matplotlib's colours of the report's uncertainty, from none to the most, in equal steps."""
DECISIONS = {"open": "#F0E442", "accept": "#0072B2", "reject": "#D55E00", "unsure": "#555555"}
"""Of the rows of a review: not decided yet, or decided so. Those of the report's figures (Okabe and Ito)."""

_STYLE = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
 {renderer}
</qgis>
"""
_RASTER = _STYLE.format(renderer="<pipe>\n  {renderer}\n </pipe>")


def probability() -> str:
    """Style of a probability raster: its first band from 0 to 1."""
    return _RASTER.format(renderer=pseudocolour(1, RAMP, clear=True))


def pseudocolour(band: int, colours: Sequence[tuple[float, str]], clear: bool = False) -> str:
    """A raster's ``band`` by values and their colours, and what lies between them; if ``clear``, the first hides nothing."""
    items = "".join(
        f'<item value="{value:.6g}" label="{value:.6g}" color="{colour}" alpha="{255 if number or not clear else 0}"/>'
        for number, (value, colour) in enumerate(colours)
    )
    shader = f'<colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0">{items}</colorrampshader>'
    return (
        f'<rasterrenderer type="singlebandpseudocolor" band="{band}" opacity="0.8" classificationMin="{colours[0][0]:.6g}"'
        f' classificationMax="{colours[-1][0]:.6g}"><rastershader>{shader}</rastershader></rasterrenderer>'
    )


def classes(names: Sequence[str]) -> str:
    """Style of a class raster: background clear, then the named classes."""
    entries = []
    for code, name in enumerate(["background", *names]):
        colour = CLASS_COLOURS[0] if not code else CLASS_COLOURS[1 + (code - 1) % (len(CLASS_COLOURS) - 1)]
        label = name.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        entries.append(f'<paletteEntry value="{code}" label="{label}" color="{colour}" alpha="{255 if code else 0}"/>')
    renderer = (
        '<rasterrenderer type="paletted" band="1" opacity="0.8">'
        f"<colorPalette>{''.join(entries)}</colorPalette></rasterrenderer>"
    )
    return _RASTER.format(renderer=renderer)


def landslides() -> str:
    """Style of the polygons: their outlines."""
    renderer = f"<symbols>{symbol('0', [(CLASS_COLOURS[1], 0.5, 'solid')])}</symbols>"
    return _STYLE.format(renderer=f'<renderer-v2 type="singleSymbol" symbollevels="0">{renderer}</renderer-v2>')


def symbol(name: str, lines: Sequence[tuple[str, float, str]]) -> str:
    """An outline of ``lines`` over each other, each with colour, width in mm and style; nothing is filled."""
    drawn = "".join(
        '<layer class="SimpleFill" enabled="1" pass="0" locked="0"><Option type="Map">'
        '<Option name="style" type="QString" value="no"/>'
        f'<Option name="outline_color" type="QString" value="{rgba(colour)}"/>'
        f'<Option name="outline_style" type="QString" value="{style}"/>'
        f'<Option name="outline_width" type="QString" value="{width_mm}"/>'
        '<Option name="outline_width_unit" type="QString" value="MM"/></Option></layer>'
        for colour, width_mm, style in lines
    )
    return f'<symbol type="fill" name="{name}" alpha="1" clip_to_extent="1">{drawn}</symbol>'


def rgba(colour: str) -> str:
    """As QGIS writes it.

    >>> rgba("#d7301f")
    '215,48,31,255'
    """
    red, green, blue = bytes.fromhex(colour[1:])
    return f"{red},{green},{blue},255"
