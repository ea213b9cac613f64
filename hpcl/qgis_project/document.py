"""The file of a project: its layers, how they are grouped, and the ground that is shown first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from hpcl.geo import raster

RASTER, VECTOR = "raster", "vector"
PROVIDERS = {RASTER: "gdal", VECTOR: "ogr"}
MARGIN_FRAC = 0.03
"""Of the area's sides, around it."""

_PROJECT = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis projectname={title} version="3.22.0">
 <title>{text}</title>
 <projectCrs>{crs}</projectCrs>
 <layer-tree-group>
{groups}
 </layer-tree-group>
 <mapcanvas name="theMapCanvas" annotationsVisible="1">
  <units>meters</units>
  {extent}
  <rotation>0</rotation>
  <destinationsrs>{crs}</destinationsrs>
 </mapcanvas>
 <projectlayers>
{layers}
 </projectlayers>
 <properties>
  <Paths><Absolute type="bool">false</Absolute></Paths>
  <SpatialRefSys><ProjectionsEnabled type="int">1</ProjectionsEnabled></SpatialRefSys>
 </properties>
</qgis>
"""
_GROUP = """  <layer-tree-group name={name} checked="Qt::Checked" expanded="1">
{members}
  </layer-tree-group>"""
_MEMBER = (
    "   <layer-tree-layer id={id} name={title} source={source} providerKey={provider} checked={checked} expanded={legend}"
    ' legend_exp="">{counted}</layer-tree-layer>'
)
_COUNTED = '<customproperties><Option type="Map"><Option name="showFeatureCount" type="QString" value="1"/></Option></customproperties>'
_LAYER = """  <maplayer type={kind} {attributes}>
   <id>{id}</id>
   <datasource>{source}</datasource>
   <layername>{title}</layername>
   <abstract>{about}</abstract>
   <srs>{crs}</srs>
   <provider encoding="UTF-8">{provider}</provider>
   {body}
  </maplayer>"""


@dataclass(frozen=True)
class Layer:
    """A layer called ``title``, of a file at ``source`` as seen from the project; ``body`` is how it is drawn and edited, in XML."""

    title: str
    kind: str
    source: str
    body: str
    about: str = ""
    shown: bool = True
    asks: bool = False
    """Whether it is there to be edited; the legend then says how many features there are of each kind."""

    @property
    def id(self) -> str:
        """By which the parts of the project name it. QGIS makes up another for one of ten letters or less."""
        return f"hpcl_layer_{self.title.replace(' ', '_')}"


def render(title: str, grid: raster.Grid, groups: Mapping[str, Sequence[Layer]]) -> str:
    """The project of an area on ``grid``, with named groups of layers, uppermost first; equal for equal ones."""
    crs = _crs(grid)
    return _PROJECT.format(
        title=quoteattr(title),
        text=escape(title),
        crs=crs,
        groups="\n".join(
            _GROUP.format(name=quoteattr(name), members="\n".join(map(_member, layers)))
            for name, layers in groups.items()
        ),
        extent=_extent(grid),
        layers="\n".join(_maplayer(layer, crs) for layers in groups.values() for layer in layers),
    )


def _crs(grid: raster.Grid) -> str:
    """By its WKT, which every CRS has; QGIS finds the code of one that has a code."""
    wkt = "" if grid.crs is None else grid.crs.proj.to_wkt()
    return f'<spatialrefsys nativeFormat="Wkt"><wkt>{escape(wkt)}</wkt></spatialrefsys>'


def _extent(grid: raster.Grid) -> str:
    box = grid.extent.boundingbox
    east, north = (MARGIN_FRAC * (high - low) for low, high in ((box.left, box.right), (box.bottom, box.top)))
    sides = {"xmin": box.left - east, "ymin": box.bottom - north, "xmax": box.right + east, "ymax": box.top + north}
    return f"<extent>{''.join(f'<{side}>{value:.12g}</{side}>' for side, value in sides.items())}</extent>"


def _member(layer: Layer) -> str:
    return _MEMBER.format(
        id=quoteattr(layer.id),
        title=quoteattr(layer.title),
        source=quoteattr(layer.source),
        provider=quoteattr(PROVIDERS[layer.kind]),
        checked='"Qt::Checked"' if layer.shown else '"Qt::Unchecked"',
        legend='"1"' if layer.asks else '"0"',
        counted=_COUNTED if layer.asks else "<customproperties/>",
    )


def _maplayer(layer: Layer, crs: str) -> str:
    return _LAYER.format(
        kind=quoteattr(layer.kind),
        attributes=f'geometry="Polygon" labelsEnabled="{layer.asks:d}" readOnly="{not layer.asks:d}"',
        id=escape(layer.id),
        source=escape(layer.source),
        title=escape(layer.title),
        about=escape(layer.about),
        crs=crs,
        provider=escape(PROVIDERS[layer.kind]),
        body=layer.body,
    )
