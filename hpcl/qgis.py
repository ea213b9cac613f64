"""How QGIS shows the maps when they are opened: a style file beside each, of the same name."""

from __future__ import annotations

from collections.abc import Sequence

RAMP = ((0.0, "#fff7ec"), (0.25, "#fdd49e"), (0.5, "#fc8d59"), (0.75, "#d7301f"), (1.0, "#7f0000"))
"""Probability to colour, light to dark, readable in grey (ColorBrewer OrRd)."""
CLASS_COLOURS = ("#f0f0f0", "#d7301f", "#2c7fb8", "#31a354", "#756bb1", "#e6ab02", "#a6761d")
"""Background, then classes in their order; beyond six they repeat."""

_RASTER = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
 <pipe>
  {renderer}
 </pipe>
</qgis>
"""
_LANDSLIDES = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
 <renderer-v2 type="singleSymbol" symbollevels="0">
  <symbols>
   <symbol type="fill" name="0" alpha="1" clip_to_extent="1">
    <layer class="SimpleFill" enabled="1" pass="0" locked="0">
     <Option type="Map">
      <Option name="style" type="QString" value="no"/>
      <Option name="outline_color" type="QString" value="215,48,31,255"/>
      <Option name="outline_style" type="QString" value="solid"/>
      <Option name="outline_width" type="QString" value="0.5"/>
      <Option name="outline_width_unit" type="QString" value="MM"/>
     </Option>
    </layer>
   </symbol>
  </symbols>
 </renderer-v2>
</qgis>
"""


def probability() -> str:
    """Style of a probability raster: its first band from 0 to 1."""
    items = "".join(f'<item value="{value}" label="{value}" color="{colour}" alpha="255"/>' for value, colour in RAMP)
    shader = f'<colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0">{items}</colorrampshader>'
    renderer = (
        '<rasterrenderer type="singlebandpseudocolor" band="1" opacity="0.8" classificationMin="0" classificationMax="1">'
        f"<rastershader>{shader}</rastershader></rasterrenderer>"
    )
    return _RASTER.format(renderer=renderer)


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
    return _LANDSLIDES
